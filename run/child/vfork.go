//go:build linux && (amd64 || arm64)

package child

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These hooks stop the runtime from running signal handlers and moving locks about while a child
// shares its memory. Go marks them as do-not-change because gVisor uses them the same way.

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

//go:linkname runtimeAfterForkInChild syscall.runtime_AfterForkInChild
func runtimeAfterForkInChild()

// rawVfork makes a system call that returns twice on the same stack; see vfork_*.s.
//
//go:noescape
func rawVfork(trap, a1, a2, a3 uintptr) (r1 uintptr, err syscall.Errno)

const haveVfork = true

// cloneArgs is clone3(2)'s struct clone_args.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal    uint64
	stack, stackSize, tls, setTID, setTIDSize, group uint64
}

// report is where a child that shares our memory leaves what went wrong.
type report struct {
	op    int
	errno syscall.Errno
}

// startVfork clones a child that borrows this process's memory until it execs, as vfork(2) does:
// no page tables are copied, no second Go runtime starts. The caller's thread sleeps meanwhile.
func startVfork(l *List, a Attr) (*Process, error) {
	p, err := l.assemble()
	if err != nil {
		return nil, err
	}
	pidfd := int32(-1)
	args := &cloneArgs{
		flags:      uint64(l.Flags) | unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD,
		pidfd:      uint64(uintptr(unsafe.Pointer(&pidfd))),
		exitSignal: uint64(syscall.SIGCHLD),
	}
	if a.GroupFd >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.group = uint64(a.GroupFd)
	}
	rep := &report{op: -1}

	// No other goroutine may open a descriptor without close-on-exec, or fork, meanwhile.
	syscall.ForkLock.Lock()
	pid, errno := vfork(args, p, rep)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	runtime.KeepAlive(args)
	runtime.KeepAlive(&pidfd)
	if errno != 0 {
		return nil, &CloneError{Flags: flagNames(l.Flags), Errno: errno}
	}
	proc := &Process{Pid: int(pid), Pidfd: int(pidfd), groupMissed: a.GroupFd >= 0 && args.group == 0}
	if rep.op >= 0 {
		proc.reap()
		return nil, l.failure(rep.op, rep.errno)
	}
	return proc, nil
}

// vfork clones and, in the child, runs p. Where seccomp hides clone3 (ENOSYS under docker's
// profile), clone does the same but for the cgroup, which args.group = 0 then tells the caller.
//
//go:noinline
//go:norace
//go:nocheckptr
func vfork(args *cloneArgs, p *program, rep *report) (pid uintptr, errno syscall.Errno) {
	pid, errno = cloneAndRun(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0, p, rep)
	if errno != syscall.ENOSYS {
		return pid, errno
	}
	args.group = 0
	flags := (args.flags &^ unix.CLONE_INTO_CGROUP) | args.exitSignal
	return cloneAndRun(syscall.SYS_CLONE, uintptr(flags), 0, uintptr(args.pidfd), p, rep)
}

// cloneAndRun never returns in the child: it would return into the parent's stack frames.
//
//go:noinline
//go:norace
//go:nocheckptr
func cloneAndRun(trap, a1, a2, a3 uintptr, p *program, rep *report) (pid uintptr, errno syscall.Errno) {
	runtimeBeforeFork()
	pid, errno = rawVfork(trap, a1, a2, a3)
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}
	runtimeAfterForkInChild()
	rep.op, rep.errno = p.run()
	for {
		syscall.RawSyscall(syscall.SYS_EXIT, 253, 0, 0)
		// A seccomp filter that forbids even that leaves this way out.
		*(*int)(nil) = 0
	}
}
