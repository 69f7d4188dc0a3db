package pty

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

func open(t *testing.T) *Pair {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: making a devpts")
	}
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// lockedBuffer is a writer that a test may look into meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("never: %s", what)
}

// The caller's side is a terminal too: another pair plays the user's.
func TestSession(t *testing.T) {
	user, inner := open(t), open(t)
	if err := unix.IoctlSetWinsize(int(user.Slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 111}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(user.Slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	var out lockedBuffer
	s, err := Join(inner, user.Slave, &out)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := unix.IoctlGetWinsize(int(inner.Slave.Fd()), unix.TIOCGWINSZ); err != nil || size.Row != 33 || size.Col != 111 {
		t.Errorf("size before anything runs: %+v, %v", size, err)
	}
	raw, err := unix.IoctlGetTermios(int(user.Slave.Fd()), unix.TCGETS)
	if err != nil || raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("the user's terminal is not raw: %+v, %v", raw, err)
	}

	var mu sync.Mutex
	var keys []syscall.Signal
	s.OnInterrupt(func(sig syscall.Signal, _ int) { mu.Lock(); keys = append(keys, sig); mu.Unlock() })
	if _, err := user.Master.Write([]byte("typed\n")); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := inner.Slave.Read(line)
	if err != nil || string(line[:n]) != "typed\n" {
		t.Errorf("the process read %q, %v", line[:n], err)
	}
	if _, err := user.Master.Write([]byte("\x03")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the interrupt key was noticed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(keys) == 1 && keys[0] == syscall.SIGINT
	})

	// The last bytes before the end arrive, however many.
	long := strings.Repeat("0123456789abcde\n", 2000)
	go func() {
		inner.Slave.WriteString(long)
		inner.CloseSlave()
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(out.String(), "\r\n", "\n"); !strings.HasSuffix(got, long) {
		t.Errorf("lost bytes: %d arrived of %d", len(got), len(long))
	}
	after, err := unix.IoctlGetTermios(int(user.Slave.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the user's terminal is not as it was: %+v, %v", after, err)
	}
}

// A key that the process reads as a byte sends no signal.
func TestNoInterruptInRawMode(t *testing.T) {
	user, inner := open(t), open(t)
	if _, err := term.MakeRaw(int(inner.Slave.Fd())); err != nil {
		t.Fatal(err)
	}
	s, err := Join(inner, user.Slave, &lockedBuffer{})
	if err != nil {
		t.Fatal(err)
	}
	s.OnInterrupt(func(sig syscall.Signal, _ int) { t.Errorf("%v for a byte that is the program's", sig) })
	if _, err := user.Master.Write([]byte("\x03")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if n, err := inner.Slave.Read(b); err != nil || string(b[:n]) != "\x03" {
		t.Errorf("the process read %q, %v", b[:n], err)
	}
	inner.CloseSlave()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Input that ends ends the process's input.
func TestEndOfInput(t *testing.T) {
	inner := open(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.WriteString("a line\n")
	w.Close()
	s, err := Join(inner, r, &lockedBuffer{})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, err := inner.Slave.Read(b); err != nil || string(b[:n]) != "a line\n" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if n, _ := inner.Slave.Read(b); n != 0 {
		t.Errorf("after the end: %q", b[:n])
	}
	inner.CloseSlave()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestIsTerminal(t *testing.T) {
	p := open(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if !IsTerminal(p.Slave) || IsTerminal(null) {
		t.Error("a terminal is one, and /dev/null is not")
	}
}
