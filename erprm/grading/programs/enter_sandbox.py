"""Takes rights and resources from a process, then runs a Python file in it; started as a script.

`erprm.grading.programs.sandbox` sends a request. This process watches over a child, which enters the sandbox, and kills
it after the wall time, when standard input is closed, or, which closes it, when the grading process ends. The child
cannot start processes, so nothing is left once it has ended.

Every program waits for these imports: they are few, from the standard library, and quick to load.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import resource
import select
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)

# From <sched.h>, <sys/mount.h>, <linux/mount.h>, <linux/fcntl.h> and <sys/prctl.h>.
NEW_NAMESPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # user mnt pid net ipc uts
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 1 << 12, 1 << 14, 1 << 18
MNT_DETACH = 2
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
SIGKILL = 9
PR_SET_PDEATHSIG, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 1, 22, 2, 38
CAPABILITY_VERSION = 0x20080522
CLONE_THREAD = 0x00010000
# On a kind of machine: its number in seccomp, then those of its calls `clone` and of what is refused.
ARCHITECTURES = {"x86_64": (0xC000003E, 56, 0), "aarch64": (0xC00000B7, 220, 1)}
CLONE3 = 435
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # processes: none can be started, signalled or looked into
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "prctl": (157, 167), "setpriority": (141, 140), "sched_setaffinity": (203, 122),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # network; io_uring opens sockets, too
    "socket": (41, 198), "io_uring_setup": (425, 425),
    # memory that outlives the process, or that its limit does not count
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # parts of the kernel that no function needs
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
}  # fmt: skip


def main() -> None:
    """Reads a request from standard input, and replies to standard output: "ready", then what the file writes."""
    request = marshal.load(sys.stdin.buffer)
    reply = os.dup(1)
    with open(request["runs"], encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes long to import
        code = compile(file.read(), request["runs"], "exec")
    alive, end_of_child = os.pipe()  # `os.pidfd_open` is missing in some builds of Python
    try:
        if request["folder"] is None:
            enter_namespaces()
        child = os.fork()
        if child == 0:
            call("prctl", PR_SET_PDEATHSIG, SIGKILL)
            confine(request)
            os.write(reply, b"ready\n")
    except OSError as error:
        os.write(reply, f"{error.strerror}\n".encode())
        os._exit(1)
    if child == 0:
        try:
            names: dict[str, Any] = {"__name__": "run_tests"}
            exec(code, names)  # noqa: S102 - the package's own file
            names["run"](request["program"], request["calls"], request["longest"], reply)
        finally:  # whatever was raised, and with threads that still run
            os._exit(0)
    os.close(end_of_child)
    end = select.poll()
    end.register(alive, select.POLLIN)
    end.register(sys.stdin.fileno(), 0)  # 0: until it is closed at the other end
    end.poll(request["wall_s"] * 1000)
    os.kill(child, SIGKILL)
    os.waitpid(child, 0)


def call(name: str, *arguments: Any) -> None:
    """Calls a function of the C library; integers are passed as long.

    Raises:
        OSError: it failed; the message names it.
    """
    longs = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    if getattr(LIBC, name)(*longs) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter_namespaces() -> None:
    """Leaves the network and the users of the machine; children get process ids of their own."""
    user, group = os.geteuid(), os.getegid()
    call("unshare", NEW_NAMESPACES)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode())
        os.close(file)


def confine(request: dict[str, Any]) -> None:
    """Enters the sandbox, for good."""
    folder = request["folder"]
    if folder is None:
        change_root(request["visible"], request["disk_mb"])
    else:
        os.chdir(folder)
    null = os.open("/dev/null", os.O_RDWR)  # not earlier: an open file leads to the file system it is on
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.environ.clear()
    limits = {
        "CPU": request["cpu_s"],
        "AS": request["memory_mb"] << 20,
        "FSIZE": request["disk_mb"] << 20,
        "NOFILE": 64,
        # Outside of a namespace it would count all processes of the user.
        "NPROC": 64 if folder is None else 0,
        "CORE": 0,
    }
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    call("capset", struct.pack("Ii", CAPABILITY_VERSION, 0), bytes(24))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    refuse_system_calls()


def change_root(visible: dict[str, str | None], disk_mb: int) -> None:
    """Leaves of all files nothing but some folders, which cannot be written to, and an empty /tmp in memory."""
    root = b"/proc"  # any folder that none of the others is in: it is only covered, and only for this process
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    call("mount", b"tmpfs", root, b"tmpfs", MS_NOSUID | MS_NODEV, b"size=1m,mode=755")
    for path, kind in ((os.fsencode(path), kind) for path, kind in visible.items()):
        if kind is not None and kind not in ("folder", "file"):
            call("symlink", os.fsencode(kind), root + path)
            continue
        if kind == "file":
            os.close(os.open(root + path, os.O_CREAT))
        else:
            call("mkdir", root + path, 0o755)
        if kind is not None:
            call("mount", path, root + path, None, MS_BIND | MS_REC, None)
    call("mkdir", root + b"/tmp", 0o700)
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)
    call("syscall", SYS_MOUNT_SETATTR, AT_FDCWD, root, AT_RECURSIVE, attributes, len(attributes))
    size = f"size={disk_mb}m,nr_inodes=1000,mode=700".encode()
    call("mount", b"tmpfs", root + b"/tmp", b"tmpfs", MS_NOSUID | MS_NODEV, size)
    os.chdir(root)
    call("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/tmp")


def refuse_system_calls() -> None:
    """Has the kernel answer "not permitted" to what is refused, and to every new process; threads are none."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"machine {machine} is none of {', '.join(ARCHITECTURES)}")
    architecture, clone, column = ARCHITECTURES[machine]
    load, equal, at_least, has_bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06  # of the kernel's packet filters
    number_of_call, architecture_of_call, first_argument = 0, 4, 16
    allow, kill, error = 0x7FFF0000, 0x80000000, 0x00050000
    refuse = (answer, 0, 0, error | errno.EPERM)
    # Operation, instructions to skip where a comparison holds and where not, operand.
    program = [(load, 0, 0, architecture_of_call), (equal, 1, 0, architecture), (answer, 0, 0, kill)]
    program += [(load, 0, 0, number_of_call), (at_least, 0, 1, 0x40000000), refuse]  # from there on: x32
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [(equal, 0, 1, number), refuse]
    # The flags of clone3 cannot be seen here; the C library then takes clone.
    program += [(equal, 0, 1, CLONE3), (answer, 0, 0, error | errno.ENOSYS)]
    program += [(equal, 0, 3, clone), (load, 0, 0, first_argument), (has_bits, 1, 0, CLONE_THREAD), refuse]
    program += [(answer, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))


if __name__ == "__main__":
    main()
