package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/run"
	"github.com/umiak/umiak/run/child"
	"github.com/umiak/umiak/run/pty"
	"github.com/umiak/umiak/run/spec"
	"github.com/umiak/umiak/run/state"
)

// supervise starts the container and stays with it: its terminal, the signals it is sent, its end.
func (p *prepared) supervise(ctx context.Context, st *state.State) error {
	if err := p.populate(st); err != nil {
		return err
	}
	c := p.config()
	c.Note = st.NoteCgroups
	// From here on signals are the container's.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, heeded(slices.Clone(forwarded)...)...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	session, err := p.terminal(&c)
	if err != nil {
		return err
	}
	ids, err := p.openIDFiles()
	if err != nil {
		session.abandon()
		return err
	}
	k, err := run.Start(c)
	if err != nil {
		session.abandon()
		return errors.Join(p.startFailed(err), ids.abandon())
	}
	p.announce(k, ids)
	go func() {
		for s := range signals {
			_ = k.Signal(s.(syscall.Signal)) // a container that has ended needs none
		}
	}()
	session.started(k)
	timedOut := p.limitTime(k)
	ended, err := k.Wait()
	if closeErr := session.close(); err == nil {
		err = closeErr
	}
	return p.outcome(ended, timedOut.Load(), err)
}

// idFiles are the files that others find the run by, made before it starts: a run that can't be
// told of does not start.
type idFiles struct{ cid, pid *os.File }

func (p *prepared) openIDFiles() (f idFiles, err error) {
	if name := p.options.cidFile; name != "" {
		if f.cid, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
			return f, fmt.Errorf("--cidfile: %w", err)
		}
		if _, err = f.cid.WriteString(p.id); err != nil {
			return f, errors.Join(fmt.Errorf("--cidfile: %w", err), f.abandon())
		}
	}
	if name := p.options.pidFile; name != "" {
		if f.pid, err = os.Create(name); err != nil {
			return f, errors.Join(fmt.Errorf("--pidfile: %w", err), f.abandon())
		}
	}
	return f, nil
}

// abandon takes back the id of a run that did not start.
func (f idFiles) abandon() error {
	if f.cid == nil {
		return nil
	}
	return errors.Join(f.cid.Close(), os.Remove(f.cid.Name()))
}

func (f idFiles) started(pid int) error {
	var errs []error
	if f.cid != nil {
		errs = append(errs, f.cid.Close())
	}
	if f.pid != nil {
		_, err := f.pid.WriteString(itoa(pid) + "\n")
		errs = append(errs, err, f.pid.Close())
	}
	return errors.Join(errs...)
}

// announce tells that the command runs.
func (p *prepared) announce(k *run.Container, f idFiles) {
	if err := f.started(k.Pid()); err != nil {
		p.options.app.say("warning", err.Error())
	}
	var img *image.Image
	if p.result != nil {
		img = p.result.Image
	}
	p.status.started(p.id, k.Pid(), p.options.name, p.options.labels, img)
}

// limitTime asks the container to stop when its time is up, and kills it when it does not.
func (p *prepared) limitTime(k *run.Container) *atomic.Bool {
	done := &atomic.Bool{}
	o := p.options
	if o.timeout <= 0 {
		return done
	}
	stop := syscall.SIGTERM
	if n, err := spec.ParseSignal(p.spec.Annotations["org.opencontainers.image.stopSignal"]); err == nil {
		stop = syscall.Signal(n)
	}
	time.AfterFunc(o.timeout, func() {
		done.Store(true)
		_ = k.Signal(stop)
		if o.stopTimeout >= 0 {
			time.AfterFunc(o.stopTimeout, func() { _ = k.Signal(unix.SIGKILL) })
		}
	})
	return done
}

// forwarded are the signals that a user or a supervisor sends; those that the kernel sends for
// something this process did itself are not the container's.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM,
	unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGCONT,
}

// terminalSession is the caller's terminal joined to the container's; nil when there is none.
type terminalSession struct {
	pair    *pty.Pair
	session *pty.Session
}

// terminal makes the container's standard streams: a terminal, or the caller's own streams.
func (p *prepared) terminal(c *run.Config) (*terminalSession, error) {
	a := p.options.app
	if !p.spec.Process.Terminal {
		c.Stdio = [3]*os.File{a.In, a.Out, a.Err}
		if !p.options.interactive {
			null, err := os.Open(os.DevNull)
			if err != nil {
				return nil, err
			}
			c.Stdio[0] = null
		}
		return nil, nil
	}
	pair, err := pty.Open()
	if err != nil {
		return nil, err
	}
	c.Terminal = pair
	s, err := pty.Join(pair, a.In, a.Out)
	if err != nil {
		pair.Close()
		return nil, err
	}
	return &terminalSession{pair, s}, nil
}

func (t *terminalSession) abandon() {
	if t != nil {
		_ = t.session.Restore()
		t.pair.Close()
	}
}

func (t *terminalSession) started(k *run.Container) {
	if t != nil {
		t.pair.CloseSlave()
		t.session.OnInterrupt(func(s syscall.Signal, foreground int) { _ = k.Interrupted(s, foreground) })
	}
}

func (t *terminalSession) close() error {
	if t == nil {
		return nil
	}
	t.pair.CloseSlave() // or the end of what the processes wrote would never be seen
	defer t.pair.Close()
	return t.session.Close()
}

// outcome says what is to be said of a container's end and gives its status.
func (p *prepared) outcome(s run.Status, timedOut bool, err error) error {
	a := p.options.app
	if err != nil {
		a.say("warning", err.Error())
	}
	code := s.Code
	if s.Signal != 0 {
		code = statusSignal + int(s.Signal)
	}
	if timedOut {
		a.say("error", fmt.Sprintf("the time limit of %v stopped the command", p.options.timeout))
		code = statusTimeout
	}
	if s.OOMKills > 0 {
		limit := bytesText(p.asked.Resources.Memory)
		if code == statusSignal+int(unix.SIGKILL) {
			a.say("error", fmt.Sprintf("the memory limit of %s killed the command", limit))
		} else {
			a.say("warning", fmt.Sprintf("the memory limit of %s killed %d of the command's processes", limit, s.OOMKills))
		}
	}
	p.status.exited(s, code, p.asked.Resources.Memory)
	p.writeReport(s, code)
	if code == 0 {
		return nil
	}
	return status(code)
}

func (p *prepared) writeReport(s run.Status, code int) {
	if !p.options.report.wanted() {
		return
	}
	r := newReport(ran{id: p.id, image: p.result, pulled: p.pulled, limits: p.spec.Linux.Resources, ended: s, status: code})
	if err := r.write(p.report, p.options.app.Err); err != nil {
		p.options.app.say("warning", err.Error())
	}
}

// startFailed finds the words for a container that did not start.
func (p *prepared) startFailed(err error) error {
	e, ok := errors.AsType[*child.Error](err)
	if !ok {
		return err
	}
	if e.Exec && strings.HasPrefix(e.Call, "execveat") {
		return hinted(fmt.Errorf("starting the init: %w", e), "umiak itself is the init, and must be a static binary for it: build it with CGO_ENABLED=0")
	}
	if !e.Exec {
		if e.Errno == unix.EPERM && os.Geteuid() == 0 {
			return hinted(err, "root here lacks a privilege, as in a container: umiak needs CAP_SYS_ADMIN for now")
		}
		return hinted(err, "that step needs something of the image or the machine that is not so; 'umiak run --explain' shows all steps")
	}
	return p.cannotExec(p.spec.Process.Args[0], e)
}

// cannotExec tells the reasons apart that execve(2) has one number for.
func (p *prepared) cannotExec(name string, e *child.Error) error {
	at := p.find(name)
	missing := execStatus(e.Errno) == statusNotFound
	switch {
	case e.Errno == unix.ENOEXEC:
		return hinted(fmt.Errorf("%s: cannot be executed: %w", name, e), p.formatHint())
	case missing && at == "":
		return hinted(fmt.Errorf("%s: command not found in %s: %w", name, p.imageName(), e), "what stands after the image is the command; an image without a shell has no sh")
	case missing:
		return hinted(fmt.Errorf("%s: its interpreter is missing: %w", at, e), "a script's #! line or a program's dynamic linker names a file that the image lacks")
	case e.Errno == unix.EACCES:
		return hinted(fmt.Errorf("%s: cannot be executed: %w", name, e), "it must be a file with execute permission for the user it runs as")
	case e.Errno == unix.E2BIG:
		return hinted(fmt.Errorf("%s: cannot be executed: %w", name, e), "the arguments and the environment together, or one of them, are too long (execve(2))")
	}
	return fmt.Errorf("%s: cannot be executed: %w", name, e)
}

// find looks a command up as the child did, in the image's files.
func (p *prepared) find(name string) string {
	for _, file := range child.Search(p.spec.Process.Env, p.spec.Process.Cwd, name) {
		if _, err := p.tree.Stat(file); err == nil {
			return file
		}
	}
	return ""
}

func (p *prepared) formatHint() string {
	if p.result != nil {
		host, img := hostPlatform(), p.result.Image.Platform
		if img.Architecture != host.Architecture {
			return fmt.Sprintf("the image is for %s and this machine is %s: it takes an emulator (binfmt_misc)", img, host)
		}
	}
	return "it is neither a program nor a script that begins with #!"
}
