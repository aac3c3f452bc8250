# SPDX-License-Identifier: MIT
"""Which configuration was in force when: the audit says it at the start, and whenever it has changed."""

import hashlib

from harness import settings


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def about_config(front):
    return [record for record in front.audit() if record["event"]["category"] in (["configuration"], ["process"]) and
            record["event"]["action"] in ("service-started", "configuration-changed", "mailbox-map-changed")]


def wait_config(front, count):
    return front.wait(lambda: (lambda found: found if len(found) >= count else None)(about_config(front)), 10,
                      "no record of the configuration")


def test_configurations_are_on_record(fronts, standin):
    front = fronts.new(start=False)
    tenant = settings.tenant(standin, "contoso", ["contoso.com"], client_secret_file=front.secret_file("app-secret"),
                             mailbox_map=front.write("map", "a@contoso.com cloud\n"), mailbox_sources=["map"])
    people = front.write("people", "a@contoso.com\n")
    rule = 'rule "few" {\n  users_file = "%s"\n  action = "deny"\n}\n' % people
    conf = settings.modernauth_conf(front, tenant + rule)
    front.write("modernauth.conf", conf)
    front.start()
    started, first_map = wait_config(front, 2)
    assert started["event"]["action"] == "service-started" and first_map["event"]["action"] == "mailbox-map-changed"
    assert started["file"] == {"path": front.config_path, "hash": {"sha256": digest(conf)}}
    assert started["modernauth"]["uid"] == front.user.pw_uid and started["modernauth"]["version"]
    files = {file["path"]: file for file in started["modernauth"]["configuration"]["files"]}
    assert files[people]["sha256"] == digest(front.read("people"))
    assert files[front.path("app-secret")] == {"path": front.path("app-secret"), "secret": True}
    assert first_map["file"] == {"path": front.path("map"), "hash": {"sha256": digest(front.read("map"))}}

    # The same again: a start says so once, a reload says nothing.
    front.reload()
    front.stop()
    front.start()
    assert [record["event"]["action"] for record in wait_config(front, 3)[2:]] == ["service-started"]

    # A map is read by itself.
    front.write("map", "a@contoso.com onprem\n")
    change = wait_config(front, 4)[3]
    assert change["event"]["action"] == "mailbox-map-changed"
    assert change["modernauth"]["configuration"]["previous"] == first_map["file"]["hash"]["sha256"]

    # Everything at once; comments are no change of what they stand in.
    changed = settings.modernauth_conf(front, tenant.replace("{\n", "{\n# a comment\n", 1) + rule.replace("few", "fewer"),
                                       deadline="25s")
    front.write("modernauth.conf", changed)
    front.write("people", "b@contoso.com\n")
    front.write("app-secret", front.canary.add("an0ther~secret.of/us", "client secret") + "\n", 0o600)
    front.reload()
    change = wait_config(front, 5)[4]
    assert change["event"]["action"] == "configuration-changed" and change["event"]["type"] == ["change"]
    assert change["file"]["hash"]["sha256"] == digest(changed)
    configuration = change["modernauth"]["configuration"]
    assert configuration["previous"] == digest(conf)
    assert configuration["changes"] == ["file %s: changed" % people, "rule few: removed", "rule fewer: added",
                                        "secret %s: changed" % front.path("app-secret"), "setting deadline: added"]
    front.wait_log("configuration: it is another than the last one: file ")
    assert digest(front.read("app-secret")) not in front.read("lib/config.seen") + repr(about_config(front))
    # And it is remembered.
    front.reload()
    front.stop()
    front.start()
    assert [record["event"]["action"] for record in wait_config(front, 6)[5:]] == ["service-started"]


def test_a_configuration_that_is_broken_is_not_on_record(fronts):
    front = fronts.new()
    before = wait_config(front, 1)
    front.expect("configuration: ", "continuing with the previous configuration")
    front.write("modernauth.conf", front.read("modernauth.conf") + "nonsense = 1\n")
    front.reload()
    assert about_config(front) == before
