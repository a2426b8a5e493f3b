"""All commands with their options, in the order of the overview. Nothing that takes time to import is imported here,
because the help and the completion of a shell need only this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshp2p.cli.options import Command, duration, number, seconds, text_argument
from meshp2p.core.message import CUSTOM, KINDS
from meshp2p.wire.event_contract import EVENT_TYPES

__all__ = ["add_commands"]

_STANDARD_KINDS = ", ".join(kind for kind in KINDS if kind != CUSTOM)
_PRECEDENCE = (
    "An option that is not given is taken from its MESHP2P_... variable, then from the file, then from the preset."
)
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_SYSTEMS = ("systemd", "launchd")


def add_commands(commands: Any) -> None:
    _add_watching(commands)
    _add_talking(commands)
    _add_trust(commands)
    _add_others(commands)


def _add_watching(commands: Any) -> None:
    """Add the commands that run a node, and that show what the mesh is like."""
    up = Command(commands, "up", "up:run", f"Run a node until Ctrl-C, SIGTERM or SIGHUP. {_PRECEDENCE}")
    up.configuration()
    what = "log messages of at least this level (default: %(default)s)"
    up.option("--log-level", what, choices=_LOG_LEVELS, default="warning")
    up.json("print each event as a JSON object on a line, as GET /events has it")

    what = (
        "Show whether anything is wrong, and the agents by trouble. The screen is refreshed in place until Ctrl-C; if"
        " standard output is no terminal, it is printed once. --json prints what GET /status answers."
    )
    top = Command(commands, "top", "top:top", what)
    top.switch("--once", "show it once, and exit with 1 if the verdict is a warning or an error")
    what = "the time between two refreshes (%(default)s)"
    top.option("--interval", what, type=seconds(0.1, 3600), default=1.0, metavar="SECONDS")
    top.answer_of_node()

    what = (
        "List the agents of the mesh. The star marks the leader. Long cells are cut: --json and `meshp2p agent ID`"
        " show all."
    )
    Command(commands, "agents", "ask:agents", what).answer_of_node()

    what = (
        "Print all that is known of one agent. This includes why it is suspected, and whether the node that is asked"
        " reaches it."
    )
    agent = Command(commands, "agent", "about:agent", what)
    agent.identifier()
    agent.answer_of_node()

    Command(commands, "leader", "ask:leader", "Print the leader.").answer_of_node()

    what = (
        "Open the live page of a node in a browser. In a secured mesh the browser gets a session of 12 hours, with the"
        " rights of MESHP2P_TOKEN, or else to read and to act as the agents of this machine."
    )
    page = Command(commands, "open", "opening:open_page", what)
    page.node_choice()
    what = "print the URL instead; in a secured mesh it can be opened once, within a minute"
    page.switch("--print", what, dest="is_printed")
    what = (
        "let the page invite and revoke machines for an hour; the URL is printed, because other users of this machine"
        " can see the arguments of a browser"
    )
    page.switch("--admin", what)

    what = (
        "Print the events of the mesh, as one node sees them, until Ctrl-C. The first line lists the members and the"
        " leader."
    )
    events = Command(commands, "events", "events:events", what)
    what = f"only events of this type: {', '.join(EVENT_TYPES)}"
    events.several("--type", what, choices=EVENT_TYPES, metavar="TYPE")
    events.switch("--past", "begin with the events that led to the present")
    events.several("--id", "only events about this member", metavar="ID")
    events.answer_of_node()

    what = (
        "Print why an agent is alive, suspect, dead or gone. The events that led to it are listed with their evidence"
        " and observers, those of the home too, if the agent is gone because of it. Without --node, the nodes that run"
        " longest are asked too, and the one that remembers most is believed."
    )
    why = Command(commands, "why", "about:why", what)
    why.identifier()
    why.answer_of_node()

    what = (
        "Measure round trips to an agent through the mesh. The node that is asked calls the node that answers for the"
        " agent, on the connection for messages or a new one; the program of the agent takes no part. It exits with 1"
        " if no call was answered."
    )
    ping = Command(commands, "ping", "about:ping", what)
    what = "how many calls, 0 for calls until Ctrl-C (%(default)s)"
    ping.option("--count", what, type=number(0), default=4, metavar="N")
    what = "the time between two calls (%(default)s)"
    ping.option("--interval", what, type=seconds(0.01, 3600), default=1.0, metavar="SECONDS")
    ping.identifier()
    ping.answer_of_node()


def _add_talking(commands: Any) -> None:
    """Add the commands that talk to agents, and those that look for nodes."""
    payload = "JSON text; - reads it from standard input"
    what = (
        "Ask an agent a question, and print its answer. Without --from, an agent is registered to ask, and removed"
        " after the answer."
    )
    query = Command(commands, "query", "messages:query", what)
    query.option("target", "the agent to ask", type=text_argument, metavar="ID")
    query.option("payload", payload, metavar="PAYLOAD")
    query.option("--from", "the agent that asks", dest="source", type=text_argument, metavar="ID")
    what = "how long to wait for the answer (%(default)s)"
    query.option("--timeout", what, type=seconds(0, 86400), default=30.0, metavar="SECONDS")
    query.answer_of_node()

    send = Command(commands, "send", "messages:send", "Send a message to one agent, or to all other agents.")
    send.option("payload", payload, metavar="PAYLOAD")
    send.option("--from", "the sender", dest="source", required=True, type=text_argument, metavar="ID")
    to = send.parser.add_mutually_exclusive_group(required=True)
    to.add_argument("--to", dest="target", type=text_argument, metavar="ID", help="the recipient")
    to.add_argument("--all", action="store_true", help="send to every other agent")
    what = f"{_STANDARD_KINDS}, or {CUSTOM}:NAME for your own kind (default: %(default)s)"
    send.option("--kind", what, type=text_argument, default="Notification")
    send.option("--correlation-id", "an id that the answer repeats", type=text_argument, metavar="TEXT")
    what = "if the agent is dead: refuse the message, or queue it until the agent returns (default: %(default)s)"
    send.option("--if-absent", what, choices=("refuse", "queue"), default="refuse")
    send.answer_of_node()

    messages = Command(commands, "messages", "messages:messages", "Print the messages that wait for an agent.")
    messages.identifier()
    what = "if there is no message, wait for one, at most 60 s"
    messages.option("--wait", what, type=seconds(0, 60), default=0.0, metavar="SECONDS")
    messages.option("--limit", "print at most N messages", type=number(1), metavar="N")
    messages.option("--after", "print only the messages after this one", type=text_argument, metavar="MESSAGE_ID")
    messages.switch("--ack", "acknowledge the printed messages, so that they are not delivered again")
    messages.answer_of_node()

    what = f"Find out why a node with this configuration finds no other nodes. {_PRECEDENCE}"
    doctor = Command(commands, "doctor", "doctor:run", what)
    doctor.configuration()
    what = "how long to listen, 0.5 to 60 (default: %(default)s)"
    doctor.option("--seconds", what, type=seconds(0.5, 60), default=4.0)
    doctor.json()

    what = (
        "List the meshes on the networks of this machine. Nodes are counted for 2 s, by multicast DNS; those of the"
        " meshes that this user joined, and of the mesh of the configuration, by the beacon as well. A node without"
        " either is not seen."
    )
    Command(commands, "meshes", "meshes:meshes", what).json()


def _add_trust(commands: Any) -> None:
    """Add the commands about a secured mesh."""
    what = (
        "Create a secured mesh. This machine is its first, is an admin and may invite others. It keeps the root key of"
        " the mesh until `meshp2p root export` moves the key to a file."
    )
    init = Command(commands, "init", "membership:init", what)
    init.option("name", "the name of the mesh, such as studio", metavar="NAME")
    init.label()

    what = (
        "Invite another machine into a secured mesh. Print a code for it, and wait until it has joined. The code"
        " expires after 10 minutes or 3 wrong attempts. With --token, print a token for programs. The invitation ends"
        " when this command ends."
    )
    invite = Command(commands, "invite", "joining:invite", what)
    invite.joined_mesh()
    invite.switch("--may-invite", "let the newcomer invite other machines")
    invite.switch("--admin", "let the newcomer revoke machines and appoint admins")
    invite.option("--ids", "the ids that its agents may use (default: %(default)s)", metavar="PATTERN", default="*")
    invite.switch("--token", "print a token, for MESHP2P_JOIN_TOKEN or standard input")
    invite.option("--uses", "how many machines may join with the token (default: 1)", type=number(1), metavar="N")
    what = "how long it is valid, such as 90s or 1h (default: 10m)"
    invite.option("--for", what, dest="seconds", type=duration, metavar="TIME")
    invite.option("--host", "the address to listen on (default: all)", default="::")
    invite.option("--port", "the TCP port to listen on (default: any)", type=int, default=0)

    what = (
        "Join a secured mesh. The command asks for the code, or reads it from standard input if there is no terminal. A"
        " token may be in MESHP2P_JOIN_TOKEN instead. Then all agents of this user on this machine can join."
    )
    join = Command(commands, "join", "joining:join", what)
    join.option("--at", "the address of the inviter (default: found on the network)", metavar="HOST:PORT")
    join.label()
    what = "write the credential to a new file, for credentials= of a node elsewhere, and do not keep it here"
    join.option("--export", what, metavar="FILE", type=Path)

    trust = Command(commands, "trust", "membership:trust", "List the machines of a secured mesh and their inviters.")
    trust.joined_mesh()
    trust.json("print each machine as a JSON object on a line")

    what = (
        "Revoke a machine with everything that it issued and all machines that it invited. ID names the machine or an"
        " agent on it. This cannot be undone: to come back, the machine must be invited again. Only the root, an admin,"
        " and each machine above it in `meshp2p trust` may revoke it."
    )
    revoke = Command(commands, "revoke", "revoking:revoke", what)
    revoke.option("id", "an agent, a machine, or the first digits of a machine's fingerprint", metavar="ID", nargs="?")
    only = revoke.parser.add_mutually_exclusive_group()
    only.add_argument("--keep-invited", action="store_true", help="keep the machines that it invited")
    only.add_argument("--only-agent", action="store_true", help="revoke only the agent ID, not its machine")
    only.add_argument("--token", metavar="JTI", help="instead of ID: revoke only the token with this jti")
    revoke.option("--root-key", "the exported root key, which may revoke anybody", metavar="FILE", type=Path)
    revoke.option("--at", "a node to tell (default: all that are found on the network)", metavar="HOST:PORT")
    revoke.joined_mesh()

    what = (
        "Print a token, signed by this machine. A program sends it as `Authorization: Bearer TOKEN`. No node is asked."
        " The token permits acting as the instances of --agent, and reading unless --scope says otherwise."
    )
    token = Command(commands, "token", "tokens:token", what)
    token.joined_mesh()
    what = "an id or a pattern of ids that it may act as"
    token.several("--agent", what, dest="agents", default=[], metavar="ID")
    what = "what else the token permits (default: read)"
    token.several("--scope", what, dest="scopes", choices=("read", "admin"))
    what = "how long it is valid, such as 1h or 30d (default: %(default)s)"
    token.option("--for", what, dest="seconds", type=duration, default="30d", metavar="TIME")

    what = (
        "Print the root certificate of a mesh in PEM. It is no secret. Programs verify the nodes with it, as with"
        " `curl --cacert FILE`."
    )
    Command(commands, "ca", "tokens:ca", what).joined_mesh()

    root = Command(commands, "root", None, "Move the root key of a secured mesh.")
    actions = root.parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    what = (
        "Move the root key of a mesh to a new file. The mesh works without it. The key can invite and revoke any"
        " machine: store the file away from the network."
    )
    export = Command(actions, "export", "membership:export", what, "move the root key to a file")
    export.option("file", "a file that does not exist yet", metavar="FILE", type=Path)
    export.joined_mesh()


def _add_others(commands: Any) -> None:
    """Add the commands of which the overview has only the name."""
    what = "Print the status of a message for each recipient."
    status = Command(commands, "status", "messages:status", what)
    status.option("message_id", "the id that `meshp2p send` printed", type=text_argument, metavar="MESSAGE_ID")
    status.answer_of_node()

    what = "Run a node as a service of this user, by systemd on Linux and by launchd on macOS."
    service = Command(commands, "service", None, what)
    actions = service.parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    what = (
        "Write the file of the service, and start it now and at each login. The options of `meshp2p up` come after two"
        " hyphens, as in `meshp2p service install -- --mesh studio`, and are checked. MESHP2P_... variables are not"
        " taken over. Relative paths are relative to the present directory."
    )
    install = Command(actions, "install", "service:install", what, "write the file of the service, and start it")
    install.option("up", "an option of meshp2p up, after --", metavar="UP_OPTION", nargs="*")
    what = "End the service, and remove its file."
    uninstall = Command(actions, "uninstall", "service:uninstall", what, "end the service, and remove its file")
    for one in (install, uninstall):
        one.option("--system", "which system runs it (default: that of this machine)", choices=_SYSTEMS)
        one.switch("--dry-run", "print what would be done, and do nothing")

    what = (
        "Write what a node went through in the last minutes to a file, for `meshp2p simulate --replay`. The node gives"
        " it to programs on its own machine and to admins. The file has the ids and addresses of all members, and no"
        " payloads."
    )
    record = Command(commands, "record", "record:record", what)
    what = "a file that does not exist yet (default: meshp2p-TIME.recording)"
    record.option("--save", what, type=Path, metavar="FILE")
    record.answer_of_node()

    what = "Simulate a mesh under faults in virtual time, and check it."
    simulate = Command(commands, "simulate", "simulate:run", what)
    simulate.option("scenario", "the scenario to run: see --list", metavar="SCENARIO", nargs="?")
    simulate.switch("--list", "list the scenarios and the checkers")
    simulate.option("--seed", "the seed of all randomness (default: %(default)s)", type=int, default=1)
    simulate.option("--nodes", "the number of nodes", type=int)
    what = "the virtual time at which all faults have ended"
    simulate.option("--duration", what, type=float, metavar="SECONDS")
    simulate.option("--loss", "the share of datagrams that is lost, 0 to 1", type=float, metavar="SHARE")
    simulate.option("--delay", "the one-way delay of every packet", type=float, metavar="SECONDS")
    simulate.switch("--through-wire", "encode and decode every message")
    simulate.several("--check", "run only this checker, see --list", metavar="NAME")
    what = "run this file again: a schedule, or the recording of a node"
    simulate.option("--replay", what, type=Path, metavar="FILE")
    simulate.switch("--shrink", "find the smallest schedule that still fails")
    what = "write the run to this file, for --replay; a failed run is always written"
    simulate.option("--save", what, type=Path, metavar="FILE")
    simulate.option("--html", "write a page that shows the run", type=Path, metavar="FILE")
    simulate.switch("--trace", "print every event of the run")
    simulate.json("print the schedule and the result as JSON")

    what = (
        "Print a script that completes commands and options in a shell. For bash, put `source <(meshp2p completion"
        " bash)` into ~/.bashrc; for zsh, the same with zsh into ~/.zshrc, after compinit; for fish, put `meshp2p"
        " completion fish | source` into ~/.config/fish/config.fish."
    )
    completion = Command(commands, "completion", "completion:completion", what)
    completion.option("shell", "bash, zsh or fish", metavar="SHELL", choices=("bash", "zsh", "fish"))
