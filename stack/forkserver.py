"""One interpreter that has imported what the children run, from which they are forked.

Importing takes longer than all else in a start. The interpreter is forked off the supervisor before
that has a thread, a connection or a key, and does nothing but import and fork: what is forked is as
new, and shares the memory of the imported code. It is handed over to the supervisor, as whose child
it lives, is told of, restarted, and killed. When the interpreter itself ends, no child does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from stack import leash

# Of a start's own 40 s. What takes longer is hung, and a fresh interpreter the better way.
_LONGEST_S = 30.0
_LONGEST_MESSAGE = 1 << 20


class ForkServer:
    """Forks modules of ours, as `python -m` would run them, for the process that made it.

    To be made and asked by the main thread, while that is the only one. May end at any time: then
    it forks nothing any more, and whoever asks must start an interpreter instead. One that does not
    answer within `longest_s` is ended.
    """

    def __init__(self, modules: Sequence[str], *, longest_s: float = _LONGEST_S) -> None:
        self._pid = 0
        self._asking, answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with answering:
            try:
                leash.adopt_orphans()
                self._pid = _forked_alone(self._asking, answering, modules)
            except OSError:  # not on this kernel, or no room for a process: nobody will answer
                return
        self._asking.settimeout(longest_s)

    @property
    def pid(self) -> int:
        """Its process id; 0 when it has ended."""
        return self._pid

    def fork(
        self, module: str, arguments: Sequence[str], *, environ: Mapping[str, str], log: Path
    ) -> int:
        """The process id of our new child, which leads its own session; 0 when none can be forked.

        Raises: OSError when there is no room for a process now.
        """
        if not self._pid:
            return 0
        told = self._asked(
            {
                "module": module,
                "arguments": list(arguments),
                "environ": dict(environ),
                "log": str(log.absolute()),
            }
        )
        if not told:
            self.close()
            return 0
        number = int(told)
        if number < 0:
            raise OSError(-number, os.strerror(-number))
        return number

    def close(self) -> None:
        """End it. What was forked goes on."""
        if self._pid:
            self._end()
        self._asking.close()

    def _asked(self, request: Mapping[str, Any]) -> bytes:
        try:
            self._asking.send(json.dumps(request).encode())
            return self._asking.recv(_LONGEST_MESSAGE)
        except TimeoutError:
            # It may answer this moment. What runs was told before, so that nothing runs twice.
            self._end()
            with contextlib.suppress(OSError):
                return self._asking.recv(_LONGEST_MESSAGE)
            return b""
        except OSError:  # it has ended, or the message is longer than one may be
            return b""

    def _end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pid = 0


def _forked_alone(asking: socket.socket, answering: socket.socket, modules: Sequence[str]) -> int:
    supervisor = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what waits there would be written twice
    pid = os.fork()
    if pid:
        return pid
    try:
        asking.close()
        os.setsid()  # a Ctrl-C is the supervisor's
        if leash.tied_to(supervisor):
            _serve(answering, supervisor, modules)
    finally:
        os._exit(1)


# ------------------------------------------------------------------------------ in the interpreter


def _serve(answering: socket.socket, supervisor: int, modules: Sequence[str]) -> None:
    _hold_nothing(answering)
    _call_it("lipei forkserver")
    for module in modules:
        with contextlib.suppress(Exception, SystemExit):  # its process says why, in its log
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that it looks at
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 only counted
        return  # what another thread holds would be held in every child, for ever
    while request := answering.recv(_LONGEST_MESSAGE):
        _fork(json.loads(request), answering, supervisor)


def _hold_nothing(answering: socket.socket) -> None:
    """What came open from a shell is closed; to Python's own files nothing is done."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 names of numbers
        with contextlib.suppress(OSError):
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.close(int(name))
    os.close(nothing)
    answering.set_inheritable(False)


def _fork(request: Mapping[str, Any], answering: socket.socket, supervisor: int) -> None:
    """Fork a child, answer with its process id or a negative error number, and let it go."""
    heard, say = os.pipe()
    go, let_go = os.pipe()
    try:
        between = os.fork()
    except OSError as error:
        told = str(-error.errno if error.errno else -1).encode()
    else:
        if not between:
            os.close(heard)
            os.close(let_go)
            _hand_over(request, answering, supervisor, (say, go))
        os.close(say)
        say = -1
        told = os.read(heard, 32)
        # It was the child's parent, and has ended: now the supervisor is.
        os.waitpid(between, 0)
    answering.send(told)
    with contextlib.suppress(BrokenPipeError):  # killed already
        os.write(let_go, b"!")
    for end in (heard, go, let_go, *([say] if say >= 0 else ())):
        os.close(end)


def _hand_over(
    request: Mapping[str, Any], answering: socket.socket, supervisor: int, ends: tuple[int, int]
) -> NoReturn:
    say, go = ends
    try:
        answering.close()
        if os.fork():
            os._exit(0)
        os.setsid()  # before its id is told, which is then its group's
        os.write(say, str(os.getpid()).encode())
        os.close(say)
        if os.read(go, 1) and leash.tied_to(supervisor):
            os.close(go)
            _become(request)
    except OSError as error:
        os.write(say, str(-error.errno if error.errno else -1).encode())
    finally:
        os._exit(1)


# -------------------------------------------------------------------------------------- in a child


def _become(request: Mapping[str, Any]) -> NoReturn:
    """Run the module to its end as a fresh interpreter would, and end as that would."""
    code = 0
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for standard in (1, 2):
            os.dup2(log, standard)
        os.close(log)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        os.umask(0o077)
        # A shell's background job ignores it; the supervisor does not, and exec would say so here.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(request["environ"])
        _call_it(f"lipei {Path(request['log']).stem}")
        sys.argv[1:] = request["arguments"]
        sys.modules.pop(request["module"], None)
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = _exit_code(ended.code)
    except BaseException:  # noqa: BLE001 nothing below may go on here: it is the supervisor's
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        ctypes.pythonapi.Py_Exit(code)  # threads are waited for, what was registered is called
    os._exit(code)


def _exit_code(said: object) -> int:
    if said is None or isinstance(said, int):
        return said or 0
    print(said, file=sys.stderr)
    return 1


def _call_it(name: str) -> None:
    """What `ps` and `top` show: without this, the supervisor's own command line."""
    with contextlib.suppress(OSError):  # a name is not worth a process
        Path("/proc/self/comm").write_text(name)
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begin, end = int(fields[45]), int(fields[46])  # the command line in memory: proc(5)
        if begin:  # it is hidden on some kernels
            room = end - begin
            ctypes.memmove(begin, name.encode()[: room - 1].ljust(room, b"\0"), room)
