package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is a process to be timed.
type command struct {
	argv   []string // argv[0] is a path
	env    []string
	chroot string // where not empty
}

// stage is where timed processes find their standard streams.
type stage struct{ null, errs *os.File }

func newStage() (*stage, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	// Messages go to memory: a pipe would need a reader beside the one who measures.
	fd, err := unix.MemfdCreate("bench-stderr", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a file for error messages: %w", err), null.Close())
	}
	return &stage{null, os.NewFile(uintptr(fd), "stderr")}, nil
}

func (s *stage) close() { s.null.Close(); s.errs.Close() }

// time runs a command and measures it from before the fork until it has been waited for. Cancelling kills its process
// group, and time returns once the command has ended.
func (s *stage) time(ctx context.Context, c command) (timing, error) {
	if ctx.Err() != nil {
		return timing{}, context.Cause(ctx)
	}
	if err := errors.Join(s.errs.Truncate(0), seek(s.errs)); err != nil {
		return timing{}, err
	}
	attr := &syscall.ProcAttr{
		Dir: "/", Env: c.env, Files: []uintptr{s.null.Fd(), s.null.Fd(), s.errs.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true, Chroot: c.chroot},
	}
	limited, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no end after %v", patience))
	defer cancel()
	start := time.Now()
	pid, err := syscall.ForkExec(c.argv[0], c.argv, attr)
	if err != nil {
		return timing{}, fmt.Errorf("starting %s: %w", c.argv[0], err)
	}
	stop := context.AfterFunc(limited, func() { syscall.Kill(-pid, ending(ctx)) })
	status, usage, err := wait(pid)
	wall := time.Since(start)
	stop()
	switch {
	case limited.Err() != nil:
		return timing{}, context.Cause(limited)
	case err != nil:
		return timing{}, fmt.Errorf("waiting for %s: %w", c.argv[0], err)
	case status != 0:
		return timing{}, s.failure(c, status)
	}
	return timing{wall, time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}, nil
}

// patience is how long one run may take: a benchmark that hangs says so.
const patience = 5 * time.Minute

// ending is the signal for a command that is to end: a polite one if we were told to, else it had its time.
func ending(ctx context.Context) syscall.Signal {
	if ctx.Err() != nil {
		return syscall.SIGTERM
	}
	return syscall.SIGKILL
}

func seek(f *os.File) error {
	_, err := f.Seek(0, 0)
	return err
}

func wait(pid int) (syscall.WaitStatus, syscall.Rusage, error) {
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		_, err := syscall.Wait4(pid, &status, 0, &usage)
		if err != syscall.EINTR {
			return status, usage, err
		}
	}
}

// failure says how a command failed, with the first line that it wrote about it: hints come after.
func (s *stage) failure(c command, status syscall.WaitStatus) error {
	what := fmt.Sprintf("exit status %d", status.ExitStatus())
	if status.Signaled() {
		what = status.Signal().String()
	}
	text := make([]byte, 4096)
	n, _ := s.errs.ReadAt(text, 0)
	if line := firstLine(text[:n]); line != "" {
		what += ": " + line
	}
	return fmt.Errorf("%s: %s", filepath.Base(c.argv[0]), what)
}

// program finds an executable file as a shell does, and in the places where administrators' programs are.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
