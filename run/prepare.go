package run

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/child"
	"github.com/umiak/umiak/run/seccomp"
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

// filter compiles the spec's seccomp profile.
func filter(s *specs.LinuxSeccomp) (*child.Filter, error) {
	if s == nil {
		return nil, nil
	}
	p, err := seccomp.Compile(s, runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("compiling the seccomp profile: %w", err)
	}
	return &child.Filter{Program: p.Filter, Flags: uint64(p.Flags)}, nil
}

// giveStreams makes the user of the process the owner of its standard streams, as docker does, so
// that it can open /dev/stdout anew: a terminal of ours, and pipes without a name. A file or a
// terminal of the caller's stays the caller's.
func giveStreams(c Config) error {
	uid := int(c.Spec.Process.User.UID)
	if uid == 0 {
		return nil
	}
	if c.Terminal != nil {
		return c.Terminal.Slave.Chown(uid, -1)
	}
	for n, f := range c.Stdio {
		fd := n
		if f != nil {
			fd = int(f.Fd())
		}
		var st unix.Statfs_t
		if unix.Fstatfs(fd, &st) != nil || st.Type != unix.PIPEFS_MAGIC {
			continue
		}
		if err := unix.Fchown(fd, uid, -1); err != nil {
			return fmt.Errorf("giving stream %d to the user: %w", n, err)
		}
	}
	return nil
}

// config puts together what the child's list is made from.
func (in *inputs) config(c Config) (child.Config, error) {
	if err := hostNull(c.Spec.Mounts); err != nil {
		return child.Config{}, err
	}
	f, err := filter(c.Spec.Linux.Seccomp)
	if err != nil {
		return child.Config{}, err
	}
	k := child.Config{
		Filter: f, Beneath: c.Beneath, Spec: c.Spec, ParentFd: in.parent, Resolve: c.Resolve, IsDir: isDir, RootIsDir: c.rootIsDir,
		Hierarchies: hierarchies(), Preserve: c.PreserveFds, Init: in.init,
	}
	if in.write != nil {
		k.InitReport = int(in.write.Fd())
	}
	if o := c.Overlay; o != nil {
		k.Overlay = &child.Overlay{Base: o.Base, Lower: o.Lower, Upper: o.Upper, Work: o.Work, Volatile: true}
	}
	for sig := syscall.Signal(1); sig < 32; sig++ {
		if signal.Ignored(sig) {
			k.Ignored = append(k.Ignored, int(sig))
		}
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
	return k, nil
}

// Explain gives the list of calls that Start would have the child make, without opening or making
// anything.
func Explain(c Config) (*child.List, error) {
	in := &inputs{parent: -1}
	if c.Init {
		in.init = "/proc/self/exe"
	}
	k, err := in.config(c)
	if err != nil {
		return nil, err
	}
	return child.Compile(k)
}

// hostNull checks what hides files if /dev is the user's own: the host's /dev/null, and nothing
// that has taken its name (CVE-2025-31133).
func hostNull(mounts []specs.Mount) error {
	if slices.ContainsFunc(mounts, func(m specs.Mount) bool { return m.Destination == "/dev" && m.Type == "tmpfs" }) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat("/dev/null", &st); err != nil {
		return fmt.Errorf("looking at /dev/null: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return errors.New("this machine's /dev/null is not the null device")
	}
	return nil
}

// rootIsDir looks at the files that will be the root, where they are on the host.
func (c Config) rootIsDir(name string) bool {
	files := c.Spec.Root.Path
	if o := c.Overlay; o != nil {
		// As an option of overlayfs it may have escapes in it.
		files = strings.NewReplacer(`\\`, `\`, `\:`, `:`).Replace(o.Lower)
		if !filepath.IsAbs(files) {
			files = filepath.Join(o.Base, files)
		}
	}
	fi, err := os.Lstat(filepath.Join(files, name))
	return err == nil && fi.IsDir()
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}
