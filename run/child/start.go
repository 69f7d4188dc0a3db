package child

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mode is how the child is born.
type Mode string

const (
	// Vfork borrows the parent's memory until exec: the fast way, and the default.
	Vfork Mode = "vfork"
	// Reexec starts this program again as a child that reads the same list: the tutorial's way,
	// for an architecture or a Go release where borrowing can't be made to hold.
	Reexec Mode = "reexec"
)

// Attr is what the child is given besides its list.
type Attr struct {
	Mode    Mode // "" is the best there is
	GroupFd int  // cgroup v2 directory to be born in, -1 for none
	// Exe is the program that Reexec starts: this one's, /proc/self/exe.
	Exe string
}

// Process is a child that has exec'ed its program.
type Process struct {
	Pid   int
	Pidfd int // a pidfd, close-on-exec; -1 where the kernel gave none

	groupMissed bool
}

// GroupMissed says that the kernel refused clone3(2), so that the child was not born in the
// cgroup asked for.
func (p *Process) GroupMissed() bool { return p.groupMissed }

// CloneError is a refusal to make the namespaces.
type CloneError struct {
	Flags string
	Errno syscall.Errno
}

func (e *CloneError) Error() string { return fmt.Sprintf("cloning with %s: %v", e.Flags, e.Errno) }
func (e *CloneError) Unwrap() error { return e.Errno }

// Start clones the child and returns once it has exec'ed, or with an *[Error] that names the
// step that failed; nothing of the child is left then.
//
// The caller must have locked its goroutine to its thread and keep it locked until the child has
// been waited for: the child is killed when the thread that made it dies (PR_SET_PDEATHSIG(2const)).
func Start(l *List, a Attr) (*Process, error) {
	switch {
	case a.Mode == Reexec, a.Mode == "" && !haveVfork:
		return startReexec(l, a)
	case a.Mode == Vfork, a.Mode == "":
		return startVfork(l, a)
	}
	return nil, fmt.Errorf("starting the child: unknown mode %q", a.Mode)
}

// WaitEnd blocks until the process has ended, and leaves it to be waited for.
func (p *Process) WaitEnd() error {
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// Wait blocks until the process has ended and returns its status and what it used.
func (p *Process) Wait() (syscall.WaitStatus, syscall.Rusage, error) {
	var ws syscall.WaitStatus
	var ru syscall.Rusage
	for {
		_, err := syscall.Wait4(p.Pid, &ws, 0, &ru)
		if err == syscall.EINTR {
			continue
		}
		if p.Pidfd >= 0 {
			unix.Close(p.Pidfd)
		}
		return ws, ru, err
	}
}

func (p *Process) reap() { p.Wait() }
