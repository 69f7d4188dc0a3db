package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// patience is how long a step may take: a demo that hangs must fail too.
const patience = 2 * time.Minute

// execute runs umiak. What it prints goes where ours does and is kept. Where our standard error is a terminal, so is
// umiak's, and its bar is drawn.
func (d *demo) execute(ctx context.Context, args []string) (outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no end after %v", patience))
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, d.umiak, args...)
	cmd.Env = append(os.Environ(), "UMIAK_ROOT="+d.store())
	cmd.Stdout = io.MultiWriter(d.stdout, &out)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	done, err := d.attach(cmd, io.MultiWriter(d.stderr, &errs))
	if err != nil {
		return outcome{}, err
	}
	err = cmd.Run()
	done()
	if ctx.Err() != nil {
		return outcome{}, context.Cause(ctx)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return outcome{}, fmt.Errorf("umiak itself was ended by %v", status.Signal())
	}
	return outcome{status.ExitStatus(), out.String(), strings.ReplaceAll(errs.String(), "\r\n", "\n")}, nil
}

// attach gives cmd a standard error that ends up in w: a pseudo terminal of our terminal's size, or a pipe where we
// have none. done waits for the last of it, once cmd has ended.
func (d *demo) attach(cmd *exec.Cmd, w io.Writer) (done func(), err error) {
	if !term.IsTerminal(int(d.stderr.Fd())) {
		cmd.Stderr = w
		return func() {}, nil
	}
	master, slave, err := openTerminal(d.stderr)
	if err != nil {
		return nil, fmt.Errorf("opening a terminal for umiak: %w", err)
	}
	cmd.Stderr = slave
	var copying sync.WaitGroup
	copying.Go(func() { io.Copy(w, master) }) // ends with EIO when nobody has the slave any more
	return func() {
		slave.Close()
		copying.Wait()
		master.Close()
	}, nil
}

// openTerminal makes a pseudo terminal of the size of like.
func openTerminal(like *os.File) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err == nil {
		// The slave by its master, not by its name: /dev/pts may be another devpts than ptmx's (Linux 4.13).
		var fd uintptr
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno == 0 {
			slave = os.NewFile(fd, "terminal")
			if size, err := unix.IoctlGetWinsize(int(like.Fd()), unix.TIOCGWINSZ); err == nil {
				unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size)
			}
			return master, slave, nil
		}
		err = errno
	}
	master.Close()
	return nil, nil, err
}

// commandLine writes a command of umiak's as one would type it.
func commandLine(args []string) string {
	plain := regexp.MustCompile(`^[\w@%+=:,./-]+$`)
	words := []string{"umiak"}
	for _, arg := range args {
		if !plain.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// mountsBelow lists what is mounted in dir.
func mountsBelow(dir string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			all = append(all, f[4])
		}
	}
	return all, nil
}
