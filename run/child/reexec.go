package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// argv0 marks the re-exec'ed child. It is an argument, not an environment variable: those are
// the user's to set, and the container's to inherit.
const argv0 = "umiak-child"

// outcome is what the re-exec'ed child writes when it fails; end of file means it has exec'ed.
type outcome struct {
	Op    int
	Errno syscall.Errno
}

// startReexec runs the list in a fresh copy of this program, born in the new namespaces. It reads
// the list from one pipe and says what failed on another, which exec closes.
func startReexec(l *List, a Attr) (*Process, error) {
	listR, listW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for the child: %w", err)
	}
	defer listW.Close()
	defer listR.Close()
	failR, failW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for the child: %w", err)
	}
	defer failR.Close()
	defer failW.Close()

	pidfd := -1
	keep := append([]int{int(listR.Fd()), int(failW.Fd())}, l.Keep...)
	for n := range l.Pass {
		keep = append(keep, 3+n)
	}
	attr := &syscall.ProcAttr{
		Files: inherit(keep),
		Sys: &syscall.SysProcAttr{
			Cloneflags: l.Flags, PidFD: &pidfd,
			UseCgroupFD: a.GroupFd >= 0, CgroupFD: max(a.GroupFd, 0),
		},
	}
	argv := []string{argv0, fmt.Sprint(listR.Fd()), fmt.Sprint(failW.Fd())}
	pid, err := syscall.ForkExec(a.Exe, argv, attr)
	missed := false
	if errors.Is(err, syscall.ENOSYS) && a.GroupFd >= 0 {
		attr.Sys.UseCgroupFD, missed = false, true
		pid, err = syscall.ForkExec(a.Exe, argv, attr)
	}
	if err != nil {
		errno, _ := err.(syscall.Errno)
		return nil, &CloneError{Flags: flagNames(l.Flags), Errno: errno}
	}
	p := &Process{Pid: pid, Pidfd: pidfd, groupMissed: missed}
	failW.Close()
	listR.Close()
	// A child that dies early closes its end: the error worth telling is then on the other pipe.
	_ = json.NewEncoder(listW).Encode(l)
	listW.Close()
	return p, l.await(p, failR)
}

// await reads the child's outcome: end of file after exec, or the operation that failed.
func (l *List) await(p *Process, r io.Reader) error {
	var o outcome
	err := json.NewDecoder(r).Decode(&o)
	if err == io.EOF {
		return nil
	}
	p.reap()
	if err != nil {
		return fmt.Errorf("reading what the child says: %w", err)
	}
	return l.failure(o.Op, o.Errno)
}

// inherit lists descriptors so that each keeps its number in the child.
func inherit(keep []int) []uintptr {
	files := []uintptr{0, 1, 2}
	for _, n := range keep {
		for len(files) <= n {
			files = append(files, ^uintptr(0))
		}
		if n >= 0 {
			files[n] = uintptr(n)
		}
	}
	return files
}

// Main is the whole life of a re-exec'ed child, and of a container's init. It returns at once,
// false, in any other process; a program that starts children calls it first of all.
//
// A container's program may be /proc/self/exe, by name, by link or as a script's interpreter: that
// is this program, on the host's own mount, where what runs inside could change it for everybody
// (CVE-2019-5736). Main ends such a process before it does anything.
func Main() bool {
	if insideOut() {
		os.Stderr.WriteString("umiak: error: started through a link into another root: a container's command cannot be umiak itself\n")
		os.Exit(125)
	}
	if report, argv, ok := initArgs(os.Args); ok {
		os.Exit(runInit(report, argv, os.Environ()))
	}
	if len(os.Args) != 3 || os.Args[0] != argv0 {
		return false
	}
	runtime.LockOSThread()
	var in, out int
	if _, err := fmt.Sscan(os.Args[1]+" "+os.Args[2], &in, &out); err != nil {
		return false
	}
	unix.CloseOnExec(out)
	f := os.NewFile(uintptr(out), "outcome")
	o := runReexec(os.NewFile(uintptr(in), "list"), out)
	_ = json.NewEncoder(f).Encode(o)
	os.Exit(253)
	return true
}

func runReexec(r *os.File, outcomeFd int) outcome {
	var l List
	err := json.NewDecoder(r).Decode(&l)
	r.Close()
	if err != nil {
		return outcome{Op: -1, Errno: syscall.EPROTO}
	}
	for _, n := range l.Keep {
		unix.CloseOnExec(n)
	}
	resetSignals()
	added := l.spare(outcomeFd)
	p, err := l.assemble()
	if err != nil {
		return outcome{Op: -1, Errno: syscall.EINVAL}
	}
	op, errno := p.run()
	runtime.KeepAlive(p)
	if op >= added {
		op-- // the parent counts without it
	}
	return outcome{Op: op, Errno: errno}
}

// spare makes the list's close_range(2) go around a descriptor that the child still needs. It
// gives the index of an operation that it has put in, or one that no list has.
func (l *List) spare(n int) (added int) {
	for i, o := range l.Ops {
		if o.Nr != unix.SYS_CLOSE_RANGE {
			continue
		}
		first, last := o, o
		first.Args = []Arg{o.Args[0], num(uint64(n - 1)), o.Args[2]}
		last.Args = []Arg{num(uint64(n + 1)), o.Args[1], o.Args[2]}
		switch lowest := int(o.Args[0].Num); {
		case n < lowest: // it stays anyway
		case n == lowest:
			l.Ops[i] = last
		default:
			l.Ops = slices.Concat(l.Ops[:i], []Op{first, last}, l.Ops[i+1:])
			return i + 1
		}
		break
	}
	return math.MaxInt
}

// resetSignals unblocks what the runtime may have blocked on this thread, as the fork hooks do
// for a vfork'ed child; handlers go away with exec.
func resetSignals() {
	var none [1]uint64
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none[0])), 0, 8, 0, 0)
}
