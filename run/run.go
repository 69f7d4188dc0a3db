// Package run starts the process that a spec describes and stays with it.
//
// It is the parent's half: it makes the cgroup and the terminal, opens what the child will need,
// has package child clone it, and waits. Nothing it makes outlives the process: namespaces and
// mounts die with it, the cgroup is removed, and the process is killed when its parent dies.
package run

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/cgroup"
	"github.com/umiak/umiak/run/child"
	"github.com/umiak/umiak/run/pty"
)

// Config is a run: what, on which root, and joined to which terminal.
type Config struct {
	ID      string
	Spec    *specs.Spec
	Overlay *Overlay
	// Stdio are the standard streams; nil is this process's own.
	Stdio [3]*os.File
	// Terminal, if the spec asks for one, is a terminal made by pty.Open, in place of Stdio.
	Terminal *pty.Pair
	// Init puts this program, as an init that reaps, before the command.
	Init bool
	// PreserveFds is how many of this process's descriptors from 3 on the command inherits.
	PreserveFds int
	// Beneath gives, by destination, a directory that a bind's source is looked up beneath.
	Beneath map[string]string
	// Resolve follows the image's symbolic links inside its root; see child.Config.
	Resolve func(string) (string, error)
	// Mode is how the child is born; "" is the best there is.
	Mode child.Mode
	// Note, if set, is told which cgroups the run may make, before it does, so that a sweep can
	// remove them whatever happens to this process. An error stops the start.
	Note func(cgroups []string) error
	// Measure fills Status.Group as far as the machine can. On cgroup v1 that takes a group even
	// for a container without limits.
	Measure bool
}

// Overlay is the writable root: names are relative to Base.
type Overlay struct {
	Base               string
	Lower, Upper, Work string
}

// groupName names the cgroup: by the run's id, beneath the parent that the spec asks for.
func (c Config) groupName() string {
	if p := c.Spec.Linux.CgroupsPath; p != "" {
		return path.Join(path.Dir(p), c.ID)
	}
	return c.ID
}

// Container is a running process and what was made for it.
type Container struct {
	process *child.Process
	group   *cgroup.Group
	ended   chan end
	started time.Time
	measure bool
	loose   bool // without a pid namespace: its end leaves processes to be killed

	mu       sync.Mutex     // guards what follows, and process.Pid against reuse
	gone     bool           // waited for: Pid and Pidfd mean nothing any more
	killedAs syscall.Signal // the signal that SIGKILL stood for
}

type end struct {
	status syscall.WaitStatus
	at     time.Time
	usage  syscall.Rusage
	err    error
}

// Status is how a container ended.
type Status struct {
	Code   int            // the exit status, where Signal is 0
	Signal syscall.Signal // what killed it
	// OOMKills counts the processes that the memory limit killed.
	OOMKills uint64
	Usage    Usage
	Group    cgroup.Stats // what is known of it, if Config.Measure
}

// Start starts the container. When it fails nothing is left of it: an error is a *child.Error for
// a step inside, a *child.CloneError for the namespaces, or wraps cgroup.ErrUnavailable.
func Start(c Config) (*Container, error) {
	if c.Note != nil {
		paths, err := cgroup.PathsOf(c.groupName())
		if err := errors.Join(err, c.Note(paths)); err != nil {
			return nil, err
		}
	}
	group, err := newGroup(c)
	if err != nil {
		return nil, err
	}
	k := &Container{group: group, ended: make(chan end, 1), measure: c.Measure, loose: !ownProcesses(c.Spec)}
	if err := k.start(c); err != nil {
		return nil, errors.Join(err, group.Remove())
	}
	return k, nil
}

func (k *Container) start(c Config) error {
	in, err := open(c)
	if err != nil {
		return err
	}
	defer in.close()
	config, err := in.config(c)
	if err != nil {
		return err
	}
	list, err := child.Compile(config)
	if err != nil {
		return err
	}
	if err := giveStreams(c); err != nil {
		return err
	}
	started := make(chan error)
	onThread(func() {
		err := k.clone(list, child.Attr{Mode: c.Mode, GroupFd: k.group.Fd(), Exe: "/proc/self/exe"})
		started <- err
		if err == nil {
			k.ended <- k.wait()
		}
	})
	if err := <-started; err != nil {
		return err
	}
	if err := in.started(); err != nil {
		<-k.ended
		return err
	}
	return nil
}

// clone makes the child, in its cgroup from birth: on v1 by joining it for a moment, which only
// this thread does.
func (k *Container) clone(list *child.List, attr child.Attr) error {
	if err := k.group.Join(); err != nil {
		return err
	}
	p, err := child.Start(list, attr)
	k.started = time.Now()
	leaveErr := k.group.Leave()
	if err != nil {
		return err
	}
	k.process = p
	if leaveErr != nil {
		return errors.Join(leaveErr, k.abandon())
	}
	if p.GroupMissed() {
		if err := k.group.AddProc(p.Pid); err != nil {
			return errors.Join(err, k.abandon())
		}
	}
	return nil
}

// abandon ends a child that was started but can't be kept: without the limits it was to have.
func (k *Container) abandon() error {
	err := k.Signal(syscall.SIGKILL)
	_, _, waitErr := k.process.Wait()
	return errors.Join(err, waitErr)
}

// wait waits for the process to end, then reaps it: in that order a signal never goes to another
// process that has got its number meanwhile.
func (k *Container) wait() end {
	err := k.process.WaitEnd()
	at := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = true
	ws, ru, waitErr := k.process.Wait()
	return end{ws, at, ru, errors.Join(err, waitErr)}
}

// onThread runs f on a thread of its own that dies with it, and that is not the process's first:
// a cgroup joined by that one would count as the whole process's, and the child is to be killed
// when its parent's thread ends (PR_SET_PDEATHSIG(2const)), not before.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine holds the first thread the next one gets another.
			done := make(chan struct{})
			onThread(func() { defer close(done); f() })
			<-done
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
}

// Pid is the container's first process, as the host sees it.
func (k *Container) Pid() int { return k.process.Pid }

// Wait waits for the end of the container, removes its cgroup and says how it ended.
func (k *Container) Wait() (Status, error) {
	e := <-k.ended
	if e.err != nil {
		return Status{}, fmt.Errorf("waiting for the container: %w", e.err)
	}
	s := Status{Code: e.status.ExitStatus(), Usage: newUsage(k.started, e.at, e.usage)}
	if e.status.Signaled() {
		s.Code, s.Signal = 0, e.status.Signal()
	}
	if k.killedAs != 0 && s.Signal == syscall.SIGKILL {
		s.Signal = k.killedAs
	}
	events, err := k.group.Events()
	s.OOMKills = events.OOMKills
	var statsErr error
	s.Group, statsErr = k.stats()
	if k.loose {
		err = errors.Join(err, k.group.Kill())
	}
	return s, errors.Join(err, statsErr, k.group.Remove())
}
