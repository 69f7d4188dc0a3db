package run

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/child"
)

// inputs are what the child is handed open.
type inputs struct {
	parent int // a pidfd of this process
}

func open() (*inputs, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("opening a pidfd of this process: %w", err)
	}
	return &inputs{parent: fd}, nil
}

func (in *inputs) close() { unix.Close(in.parent) }

// config puts together what the child's list is made from.
func (in *inputs) config(c Config) child.Config {
	k := child.Config{
		Spec: c.Spec, ParentFd: in.parent, Resolve: c.Resolve, IsDir: isDir,
		Hierarchies: hierarchies(),
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
	return child.Compile((&inputs{parent: -1}).config(c))
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}
