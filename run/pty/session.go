package pty

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Session is a caller's terminal joined to a process's.
type Session struct {
	pair    *Pair
	in      *os.File
	saved   *term.State // nil if the caller's input is no terminal
	resized chan os.Signal
	drained chan error
	hook    atomic.Pointer[func(syscall.Signal, int)]
}

// IsTerminal says whether f is one.
func IsTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd()))
}

// Join gives the process's terminal the size of the caller's, now and at every change, puts the
// caller's into raw mode, and copies both ways. in may be something else than a terminal; its end
// is then passed on as the end-of-file character. Join comes before the process starts.
func Join(p *Pair, in *os.File, out io.Writer) (*Session, error) {
	s := &Session{pair: p, in: in, resized: make(chan os.Signal, 1), drained: make(chan error, 1)}
	if IsTerminal(in) {
		s.resize()
		saved, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, fmt.Errorf("making the terminal raw: %w", err)
		}
		s.saved = saved
		signal.Notify(s.resized, unix.SIGWINCH)
		go func() {
			for range s.resized {
				s.resize()
			}
		}()
	}
	go s.input()
	go func() { s.drained <- output(out, p.Master) }()
	return s, nil
}

func (s *Session) resize() {
	size, err := unix.IoctlGetWinsize(int(s.in.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return // the size stays as it was, which harms nothing
	}
	master, err := s.pair.Master.SyscallConn()
	if err == nil {
		// Not by Master.Fd(), which would take the descriptor from the runtime's poller.
		_ = master.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	}
}

// input copies what is typed, and looks at it for the keys that send a signal.
func (s *Session) input() {
	b := make([]byte, 4096)
	for {
		n, err := s.in.Read(b)
		if n > 0 {
			if _, err := s.pair.Master.Write(b[:n]); err != nil {
				return
			}
			s.interrupts(b[:n])
		}
		if err != nil {
			break
		}
	}
	if s.saved == nil {
		_, _ = s.pair.Master.Write([]byte{4}) // VEOF as a new terminal has it: ^D
	}
}

// OnInterrupt sets what is called after a key has been typed for which the process's terminal
// sends a signal to its foreground processes (termios(3), ISIG).
func (s *Session) OnInterrupt(f func(sig syscall.Signal, foreground int)) { s.hook.Store(&f) }

func (s *Session) interrupts(typed []byte) {
	hook := s.hook.Load()
	master, err := s.pair.Master.SyscallConn()
	if hook == nil || err != nil {
		return
	}
	_ = master.Control(func(fd uintptr) {
		t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if err != nil || t.Lflag&unix.ISIG == 0 {
			return
		}
		foreground, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP)
		if err != nil {
			return
		}
		for _, key := range []struct {
			cc  int
			sig syscall.Signal
		}{{unix.VINTR, syscall.SIGINT}, {unix.VQUIT, syscall.SIGQUIT}} {
			if c := t.Cc[key.cc]; c != 0 && bytes.IndexByte(typed, c) >= 0 {
				(*hook)(key.sig, foreground)
			}
		}
	})
}

// output copies until every process has closed the terminal, which reads as EIO.
func output(w io.Writer, master *os.File) error {
	_, err := io.Copy(w, master)
	if errors.Is(err, unix.EIO) {
		return nil
	}
	return err
}

// Close waits until all that the processes wrote has been copied, then gives the caller's
// terminal back as it was.
func (s *Session) Close() error {
	return errors.Join(<-s.drained, s.Restore())
}

// Restore gives the caller's terminal back as it was, without waiting for anything. It may be
// called more than once.
func (s *Session) Restore() error {
	signal.Stop(s.resized)
	if s.saved == nil {
		return nil
	}
	if err := term.Restore(int(s.in.Fd()), s.saved); err != nil {
		return fmt.Errorf("restoring the terminal: %w", err)
	}
	return nil
}
