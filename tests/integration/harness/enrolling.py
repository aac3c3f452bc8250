# SPDX-License-Identifier: MIT
"""Enrolments and device passwords over the admin socket, as doveadm makes them."""

import dataclasses

from standin.entra_model import CONTOSO


@dataclasses.dataclass
class Device:
    id: str
    password: str


def own_domain(standin, name, tenant=CONTOSO):
    """A domain for front ends of one module; the stand-in has it from now on."""
    standin.domain(name, tenant=tenant)
    return name


class Enrolling:
    """A mix-in of Front."""

    def take_device(self, answer):
        """The device password of an answer; nobody may find it anywhere from now on."""
        for text in (answer["device_password"], answer["device_password"].replace("-", "")):
            self.canary.add(text, "device password")
        return Device(answer["device_id"], answer["device_password"])

    def enrol(self, *accounts, sign_in=None, **fields):
        """Enrols accounts side by side, each signs in (or all of them as sign_in). The device passwords are theirs from
        now on; the last answers, in the order of the accounts."""
        self.standin.entra(device_interval=1)
        done = {}
        with self.broker("admin", timeout=60) as broker:
            asked = {broker.request("ENROLL", user=account.login, **fields): account for account in accounts}
            while len(done) < len(asked):
                answer = broker.answer()
                assert answer is not None, "the broker closed the connection"
                account = asked[answer.id]
                if answer.verb == "CODE":
                    self.standin.device("approve", answer["user_code"], user=(sign_in or account).upn)
                elif answer.verb in ("OK", "FAIL", "BAD"):
                    done[answer.id] = answer
                if answer.verb == "OK" and "device_password" in answer.fields:
                    account.password = self.take_device(answer).password
        return [done[number] for number in asked]

    def ask(self, verb, **fields):
        """An admin request: (the lines before the last one, the last one)."""
        with self.broker("admin", timeout=60) as broker:
            return broker.all(verb, **fields)

    def add_device(self, account, name, **fields):
        _, answer = self.ask("DEVICE-ADD", user=getattr(account, "login", account), name=name, **fields)
        assert answer.verb == "OK", answer
        return self.take_device(answer)

    def enrolment(self, account):
        """The row of LIST for account, or None. Codes that wait to be entered have rows of their own, after it."""
        rows = [row for row in self.ask("LIST")[0] if row["user"] == getattr(account, "upn", account)]
        rows.sort(key=lambda row: row["state"] == "pending")
        assert len(rows) < 2 or rows[1]["state"] == "pending", rows
        return rows[0] if rows else None

    def device_row(self, account, name):
        rows = self.ask("DEVICE-LIST", user=getattr(account, "login", account))[0]
        return next((row for row in rows if row["name"] == name), None)

    def kill_and_wait(self):
        """SIGKILL for the broker; a new one answers when this returns."""
        self.expect("killed with signal", "lost the connection", "cannot connect to the broker",
                    "ending before the broker has confirmed")
        gone = self.kill_broker()
        self.wait(lambda: gone not in self.processes(), 10, "the broker did not die")
        self.wait(self.broker_answers, 20, "no new broker")
        self.wait_store()

    def wait_store(self):
        """A broker opens the store when it is alone, a moment after it has begun to answer."""
        self.wait(lambda: "it is being opened" not in self.ask("LIST")[1].get("reason", ""), 20, "the store is not open")

    def kill_and_wait_for_trouble(self):
        """The same for one whose store cannot be opened."""
        self.expect("killed with signal", "lost the connection", "cannot connect to the broker",
                    "ending before the broker has confirmed")
        mark, gone = self.log_mark(), self.kill_broker()
        self.wait(lambda: gone not in self.processes(), 10, "the broker did not die")
        self.wait(self.broker_answers, 20, "no new broker")
        self.wait_log("the store cannot be opened", mark)
