package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/run"
)

// events are all there are, in the order of a run.
func events(t *testing.T, s *statusFile) {
	t.Helper()
	r := pulledResult(t)
	s.fetched(r, 1200*time.Millisecond)
	r.Pulled = false
	s.fetched(r, time.Millisecond)
	s.started("0123456789ab", 4711, "web", map[string]string{"a": "<&>"}, r.Image)
	s.started("0123456789ab", 4711, "", nil, nil)
	usage := run.Usage{Start: time.Unix(100, 0), End: time.Unix(102, 345678000)}
	s.exited(run.Status{Signal: syscall.SIGKILL, OOMKills: 2, Usage: usage}, 137, new(int64(6<<20)))
	s.failed(context.Background(), errors.New("after the end"))
}

func TestStatusFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(file, []byte("of an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newStatusFile(file)
	if err != nil {
		t.Fatal(err)
	}
	events(t, s)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	times := regexp.MustCompile(`"time":"(\d{4}-\d\d-\d\dT[0-9:.]+Z)"`)
	if n := len(times.FindAll(got, -1)); n != strings.Count(string(got), "\n") {
		t.Errorf("%d times in\n%s", n, got)
	}
	const head = `{"v":1,"time":"T","event":`
	const alpine = `"image":"docker.io/library/alpine:3.20","digest":"sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1"`
	want := head + `"pulled",` + alpine + `,"bytes":3500000,"seconds":1.2}
` + head + `"cached",` + alpine + `,"seconds":0.001}
` + head + `"started","id":"0123456789ab","pid":4711,"name":"web","labels":{"a":"<&>"},` + alpine + `}
` + head + `"started","id":"0123456789ab","pid":4711,"name":null,"labels":{},"image":null,"digest":null}
` + head + `"oom","kills":2,"limit":6291456}
` + head + `"exited","status":137,"signal":"SIGKILL","seconds":2.345678}
`
	if got := times.ReplaceAllString(string(got), `"time":"T"`); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// failures writes one failed line and reads it.
func failure(t *testing.T, ctx context.Context, err error) map[string]any {
	t.Helper()
	file := filepath.Join(t.TempDir(), "status")
	s, openErr := newStatusFile(file)
	if openErr != nil {
		t.Fatal(openErr)
	}
	s.failed(ctx, err)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	b, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatal(readErr)
	}
	line := map[string]any{}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &line); err != nil || len(b) > 4096 {
			t.Fatalf("%d bytes, %v: %s", len(b), err, b)
		}
	}
	return line
}

func TestStatusFileFailed(t *testing.T) {
	interruptedCtx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted(syscall.SIGTERM))
	for _, x := range []struct {
		name string
		ctx  context.Context
		err  error
		want string // "" is no line
	}{
		{"ours", t.Context(), fmt.Errorf("pulling: %w", image.ErrNotFound), "125 pulling: " + image.ErrNotFound.Error() + " check the spelling"},
		{"no hint", t.Context(), errors.New("out of luck"), "125 out of luck <nil>"},
		{"hints", t.Context(), hinted(errors.New("x"), "a", "b"), "125 x a; b"},
		{"the command's own", t.Context(), status(125), ""},
		{"none", t.Context(), nil, ""},
		{"interrupted", interruptedCtx, context.Canceled, "143 interrupted by SIGTERM <nil>"},
		{"long", t.Context(), errors.New(strings.Repeat("é", 9000)), "125 éé"},
		{"control characters", t.Context(), errors.New("a\nb" + strings.Repeat("\x01\xff", 9000)), "125 a; b ? ? ?"},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := failure(t, x.ctx, x.err)
			if x.want == "" {
				if len(l) != 0 {
					t.Errorf("got %v", l)
				}
				return
			}
			if got := fmt.Sprintf("%v %v %v", l["status"], l["error"], l["hint"]); l["event"] != "failed" || !strings.HasPrefix(got, x.want) {
				t.Errorf("got %q of %v, want %q", got, l, x.want)
			}
		})
	}
}

// TestStatusFileNil: without --status-file nothing is written, and nobody has to ask.
func TestStatusFileNil(t *testing.T) {
	var s *statusFile
	events(t, s)
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestStatusFileRefused(t *testing.T) {
	readOnly, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	inherit(t, readOnly)
	for spec, want := range map[string]string{
		"":                               "it takes a file's name or fd:N",
		"-":                              "standard output belongs to the command",
		"fd:":                            "fd:: not a descriptor",
		"fd:-1":                          "fd:-1: not a descriptor",
		"fd:3x":                          "fd:3x: not a descriptor",
		"fd:99999999999":                 "fd:99999999999: not a descriptor",
		"fd:0":                           "fd:0 belongs to the command",
		"fd:2":                           "fd:2 belongs to the command",
		"fd:1000000":                     "fd:1000000 is not open, or in use already",
		"/nowhere/file":                  "opening /nowhere/file: no such file or directory",
		"/":                              "opening /: is a directory",
		"fd:" + itoa(int(readOnly.Fd())): "fd:" + itoa(int(readOnly.Fd())) + " is not open for writing",
	} {
		if _, err := newStatusFile(spec); err == nil || err.Error() != "--status-file: "+want {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
	// A descriptor of our own is nobody's to name, though it is open.
	own, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := newStatusFile("fd:" + itoa(int(own.Fd()))); err == nil {
		t.Error("a descriptor that we have opened ourselves was taken")
	}
}

// inherit makes f look as if our caller had opened it.
func inherit(t *testing.T, f *os.File) {
	t.Helper()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
}

// pipe makes a pipe whose writing end is given as fd:N.
func statusPipe(t *testing.T) (r *os.File, w int, s *statusFile) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		t.Fatal(err)
	}
	s, err := newStatusFile("fd:" + itoa(p[1]))
	if err != nil {
		t.Fatal(err)
	}
	r = os.NewFile(uintptr(p[0]), "r")
	t.Cleanup(func() { r.Close() })
	return r, p[1], s
}

func TestStatusFileDescriptor(t *testing.T) {
	r, fd, s := statusPipe(t)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the command would get it: flags %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the caller's descriptor was changed: %#x, %v", flags, err)
	}
	if _, err := newStatusFile("fd:" + itoa(fd)); err == nil {
		t.Error("one descriptor was taken twice")
	}
	events(t, s)
	if err := s.close(); err != nil {
		t.Error(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || strings.Count(string(b), "\n") != 6 {
		t.Errorf("%q, %v", b, err)
	}
}

// TestStatusFileNobodyReads: the container must not wait for it, and the warning is one.
func TestStatusFileNobodyReads(t *testing.T) {
	t.Parallel() // it waits
	_, fd, s := statusPipe(t)
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.Write(fd, make([]byte, 4096)); err != nil {
			break
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	events(t, s)
	events(t, s)
	if took := time.Since(begin); took > patience+time.Second {
		t.Errorf("waited %v", took)
	}
	if err := s.close(); err == nil || err.Error() != "writing the status file: fd:"+itoa(fd)+": its reader does not read" {
		t.Errorf("error %v", err)
	}
}

// TestStatusFileGone: a reader that has gone is no reason to die of SIGPIPE.
func TestStatusFileGone(t *testing.T) {
	r, _, s := statusPipe(t)
	r.Close()
	events(t, s)
	if err := s.close(); !errors.Is(err, unix.EPIPE) {
		t.Errorf("error %v", err)
	}
	s, err := newStatusFile("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	events(t, s)
	if err := s.close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
}

// TestStatusFileFifo: a reader may come a little later, but not never.
func TestStatusFileFifo(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newStatusFile(name); !errors.Is(err, unix.ENXIO) {
		t.Errorf("without a reader: %v", err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		time.Sleep(100 * time.Millisecond)
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			lines <- s.Text()
		}
	}()
	s, err := newStatusFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s.started("x", 1, "", nil, nil)
	select {
	case l := <-lines:
		if !strings.Contains(l, `"started"`) {
			t.Errorf("read %q", l)
		}
	case <-time.After(5 * time.Second):
		t.Error("the line did not come at once")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	for range lines {
	}
}

const statusHelper = "UMIAK_TEST_STATUS_HELPER"

// TestStatusFileOutput: where the name is that of our own standard error, what is in it stays. A
// process of its own, since it is about descriptor 2.
func TestStatusFileOutput(t *testing.T) {
	if name := os.Getenv(statusHelper); name != "" {
		s, err := newStatusFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s.started("x", 1, "", nil, nil)
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "log")
	log, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.WriteString("of others\n"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStatusFileOutput$")
	cmd.Env = append(os.Environ(), statusHelper+"=/dev/stderr")
	cmd.Stderr = log
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(b), "of others\n{\"v\":1,") {
		t.Errorf("%q, %v", b, err)
	}
}
