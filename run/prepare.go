package run

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/child"
)

// inputs are what the child is handed open.
type inputs struct {
	parent         int // a pidfd of this process
	init           string
	reports, write *os.File // the pipe of an init
}

func open(c Config) (*inputs, error) {
	in := &inputs{}
	var err error
	if in.parent, err = unix.PidfdOpen(os.Getpid(), 0); err != nil {
		return nil, fmt.Errorf("opening a pidfd of this process: %w", err)
	}
	if !c.Init {
		return in, nil
	}
	if in.init, err = os.Executable(); err == nil {
		in.reports, in.write, err = os.Pipe()
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("preparing an init: %w", err)
	}
	return in, nil
}

func (in *inputs) close() {
	unix.Close(in.parent)
	if in.write != nil {
		in.write.Close()
		in.reports.Close()
	}
}

// started waits for an init to say whether it could start the command.
func (in *inputs) started() error {
	if in.write == nil {
		return nil
	}
	in.write.Close()
	return child.InitReport(in.reports)
}

// config puts together what the child's list is made from.
func (in *inputs) config(c Config) child.Config {
	k := child.Config{
		Spec: c.Spec, ParentFd: in.parent, Resolve: c.Resolve, IsDir: isDir,
		Hierarchies: hierarchies(), Preserve: c.PreserveFds, Init: in.init,
	}
	if in.write != nil {
		k.InitReport = int(in.write.Fd())
	}
	if o := c.Overlay; o != nil {
		k.Overlay = &child.Overlay{Base: o.Base, Lower: o.Lower, Upper: o.Upper, Work: o.Work, Volatile: true}
	}
	for n, f := range c.Stdio {
		k.Stdio[n] = n
		if f != nil {
			k.Stdio[n] = int(f.Fd())
		}
	}
	if t := c.Terminal; t != nil {
		k.Terminal = &child.Terminal{MountFd: int(t.Mount.Fd()), SlaveFd: int(t.Slave.Fd())}
	}
	return k
}

// Explain gives the list of calls that Start would have the child make, without opening or making
// anything.
func Explain(c Config) (*child.List, error) {
	in := &inputs{parent: -1}
	if c.Init {
		in.init = "/proc/self/exe"
	}
	return child.Compile(in.config(c))
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}
