"""Descriptor tables: what opens, copies, uses and closes a descriptor; who holds a connection."""

from __future__ import annotations

import re
from collections.abc import Callable

from forklab.trace import model, strace
from forklab.trace.account import Account, File, ProcessState, Slot, brief
from forklab.trace.model import Descriptor, Event
from forklab.trace.strace import Record

READS = ("read", "readv", "recv", "recvfrom", "recvmsg", "pread64")
WRITES = ("write", "writev", "send", "sendto", "sendmsg", "pwrite64")
# What makes one descriptor, and what that stands for.
MAKERS = {
    "socket": ("socket", "socket"),
    **dict.fromkeys(("eventfd", "eventfd2"), ("other", "eventfd")),
    **dict.fromkeys(("epoll_create", "epoll_create1"), ("other", "epoll")),
    **dict.fromkeys(("inotify_init", "inotify_init1"), ("other", "inotify")),
    **dict.fromkeys(("signalfd", "signalfd4"), ("other", "signalfd")),
    "timerfd_create": ("other", "timerfd"),
    "pidfd_open": ("other", "pidfd"),
    "memfd_create": ("other", "memfd"),
}
PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_RIGHTS = re.compile(r"SCM_RIGHTS, cmsg_data=\[([\d, ]+)\]")
_LOADER = re.compile(r"/etc/ld\.so|.*\.so(\.\d+)*$")


class Descriptors(Account):
    """The part of a replay that is about descriptors."""

    def _open(
        self, event: Event, process: ProcessState, fd: int, file: File, cloexec: bool = False
    ) -> None:
        process.table[fd] = Slot(file, cloexec)
        self._retable(event, process)

    def _opened(self, record: Record, process: ProcessState, file: File) -> None:
        fd = record.value
        if fd is None:
            return
        cloexec = "CLOEXEC" in " ".join(record.arguments)
        if file.hidden:
            process.table[fd] = Slot(file, cloexec)
            return
        if record.name.startswith("signalfd") and record.arguments[0] == str(fd):
            self._event(record, process, model.CALL, "signalfd: another set of signals", fd=fd)
            return
        event = self._event(record, process, model.OPEN, f"{record.name} = {fd}", fd=fd)
        self._open(event, process, fd, file, cloexec)

    def _openat(self, record: Record, process: ProcessState) -> None:
        path = next((one.strip('"') for one in record.arguments if one.startswith('"')), "file")
        self._opened(record, process, File("file", path, hidden=bool(_LOADER.match(path))))

    def _pair(self, record: Record, process: ProcessState) -> None:
        words = next((one for one in record.arguments if one.startswith("[")), "[]")
        fds = strace.numbers_of(strace.items_of(words))
        kind = "pipe" if record.name.startswith("pipe") else "socket"
        text = "pipe" if kind == "pipe" else "socketpair"
        shown = ", ".join(map(str, fds))
        event = self._event(record, process, model.OPEN, f"{text}: {shown}")
        cloexec = "CLOEXEC" in " ".join(record.arguments)
        for number, fd in enumerate(fds):
            ends = (" (read end)", " (write end)") if kind == "pipe" else ("", "")
            process.table[fd] = Slot(File(kind, text + ends[number % 2]), cloexec)
            event.fd = fd
        self._retable(event, process)

    def _dup(self, record: Record, process: ProcessState) -> None:
        old, _ = self._fd_of(record, process)
        new = record.value
        slot = process.table.get(old)
        if new is None or slot is None or new == old:
            self._event(record, process, model.CALL, brief(record), fd=old)
            return
        text = f"{record.name}({old}) = {new}"
        event = self._event(record, process, model.OPEN, text, fd=new, client=slot.file.client)
        self._open(event, process, new, slot.file, "CLOEXEC" in " ".join(record.arguments))

    def _fcntl(self, record: Record, process: ProcessState) -> None:
        what = record.arguments[1] if len(record.arguments) > 1 else ""
        fd, _ = self._fd_of(record, process)
        if what.startswith("F_DUPFD"):
            self._dup(record, process)
            return
        event = self._event(record, process, model.CALL, brief(record), fd=fd)
        if what == "F_SETFD" and fd in process.table:
            process.table[fd].cloexec = "FD_CLOEXEC" in record.arguments[-1]
            self._table_of(event, process)

    def _listen(self, record: Record, process: ProcessState) -> None:
        fd, _ = self._fd_of(record, process)
        if fd in process.table:
            process.table[fd].file.what = process.table[fd].file.text = "listener"
        event = self._event(record, process, model.LISTEN, f"listen({fd})", fd=fd)
        self._retable(event, process)

    def _accept(self, record: Record, process: ProcessState) -> None:
        fd = record.value or 0
        client = self._client_of(record)
        whose = f"client {client}" if client else "a stranger"
        event = self._event(
            record, process, model.ACCEPT, f"accept = {fd} ({whose})", fd=fd, client=client
        )
        file = File("client", whose, client)
        self._open(event, process, fd, file, "CLOEXEC" in " ".join(record.arguments))
        for one in self.trace.connections:
            if one.client == client:
                one.accepted, one.accepted_by = event.time, process.name

    def _client_of(self, record: Record) -> int:
        """By the port of the peer; where accept was not asked for it, they come in order."""
        waiting = [one for one in self.trace.connections if one.accepted is None]
        if (port := PORT.search(" ".join(record.arguments))) is not None:
            waiting = [one for one in waiting if one.port == int(port[1])]
        return waiting[0].client if waiting else 0

    def _close(self, record: Record, process: ProcessState) -> None:
        fd, client = self._fd_of(record, process)
        slot = process.table.pop(fd, None)
        if slot is None or slot.file.hidden:
            return
        text = f"close({fd})" + (f" ({slot.file.text})" if slot.file.what != "file" else "")
        event = self._event(record, process, model.CLOSE, text, fd=fd, client=client)
        self._retable(event, process)

    def _close_range(self, record: Record, process: ProcessState) -> None:
        first = int(record.arguments[0])
        last = int(record.arguments[1]) if record.arguments[1].isdigit() else 1 << 31
        fds = [fd for fd in process.table if first <= fd <= last]
        event = self._event(record, process, model.CLOSE, f"close_range({first}, {last})")
        for fd in fds:
            if "CLOSE_RANGE_CLOEXEC" in record.arguments[-1]:
                process.table[fd].cloexec = True
            else:
                del process.table[fd]
        self._retable(event, process)

    def _shutdown(self, record: Record, process: ProcessState) -> None:
        fd, client = self._fd_of(record, process)
        self._event(record, process, model.SHUTDOWN, brief(record), fd=fd, client=client)

    def _transfer(self, record: Record, process: ProcessState) -> None:
        fd, client = self._fd_of(record, process)
        slot = process.table.get(fd)
        if slot and slot.file.hidden:
            return
        size = record.value or 0
        words = " ".join(record.arguments)
        data = record.arguments[1] if len(record.arguments) > 1 else ""
        data = data if data.startswith('"') else ""
        reads = record.name in READS
        whose = f" ({slot.file.text})" if slot and slot.file.what != "file" else ""
        kind = model.EOF if reads and not size else model.READ if reads else model.WRITE
        text = f"{record.name}({fd}) = {size}{whose}"
        event = self._event(record, process, kind, text, fd=fd, client=client, size=size, data=data)
        if client:
            self._count(event, process, client, reads)
        if (rights := _RIGHTS.search(words)) is not None:
            self._pass(event, process, strace.numbers_of(rights[1].split(", ")), reads)

    def _count(self, event: Event, process: ProcessState, client: int, reads: bool) -> None:
        if client not in process.whole.shown.clients:
            process.whole.shown.clients.append(client)
        for one in self.trace.connections:
            if one.client != client:
                continue
            if event.kind == model.EOF and one.eof is None:
                one.eof, one.eof_by = event.time, process.name
            elif reads:
                one.received += event.size
            else:
                one.sent += event.size

    def _pass(self, event: Event, process: ProcessState, fds: list[int], reads: bool) -> None:
        """Descriptors that go from one process to another in a message (unix(7), SCM_RIGHTS)."""
        for fd in fds:
            if reads:
                unknown = File("other", "from another process")
                file = self.in_flight.popleft() if self.in_flight else unknown
                self._open(event, process, fd, file)
            elif fd in process.table:
                self.in_flight.append(process.table[fd].file)

    def _table_of(self, event: Event, process: ProcessState) -> None:
        rows = [
            Descriptor(fd, slot.file.what, slot.file.text, slot.file.client, slot.cloexec)
            for fd, slot in sorted(process.table.items())
            if not slot.file.hidden
        ]
        event.tables[process.whole.name] = rows
        self._hold(event, process.whole)

    def _retable(self, event: Event, process: ProcessState) -> None:
        """Notes the table after a change; also of other processes that share it."""
        sharing = [one for one in self.living.values() if one.table is process.table]
        for one in sharing or [process]:
            if one.leader is None or one.leader.ended:
                self._table_of(event, one)
        if process.whole.name not in event.tables and process.leader is not None:
            self._table_of(event, process)

    def _hold(self, event: Event, process: ProcessState) -> None:
        """Keeps account of who holds which client's connection."""
        now = {
            (process.shown.pid, fd, slot.file.client)
            for fd, slot in process.table.items()
            if slot.file.client
        }
        mine = {key for key in self.open_holdings if key[0] == process.shown.pid}
        for key in sorted(now - mine):
            holding = model.Holding(process.name, key[1], event.time)
            self.open_holdings[key] = holding
            self._connection(key[2]).holdings.append(holding)
        for key in sorted(mine - now):
            self.open_holdings.pop(key).until = event.time
            if not any(client == key[2] for _, _, client in self.open_holdings):
                event.client_ends, event.client = True, key[2]
                self._connection(key[2]).closed = event.time

    def _connection(self, client: int) -> model.Connection:
        return next(one for one in self.trace.connections if one.client == client)


CALLS_ON_DESCRIPTORS: dict[str, Callable[[Descriptors, Record, ProcessState], None]] = {
    **dict.fromkeys(("open", "openat", "openat2", "creat"), Descriptors._openat),
    **dict.fromkeys(("pipe", "pipe2", "socketpair"), Descriptors._pair),
    **dict.fromkeys(("dup", "dup2", "dup3"), Descriptors._dup),
    "fcntl": Descriptors._fcntl,
    "listen": Descriptors._listen,
    **dict.fromkeys(("accept", "accept4"), Descriptors._accept),
    "close": Descriptors._close,
    "close_range": Descriptors._close_range,
    "shutdown": Descriptors._shutdown,
}
