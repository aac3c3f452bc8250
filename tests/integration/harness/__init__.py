# SPDX-License-Identifier: MIT
"""What the integration tests are made of: a Dovecot front end (front.py), its settings (settings.py), clients of its
ports (clients.py, programs.py) and of its sockets (sockets.py), and the hunt for secrets (canary.py)."""
