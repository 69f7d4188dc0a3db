package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/image"
	"github.com/umiak/umiak/image/pull"
	"github.com/umiak/umiak/run"
)

// statusFile is what --status-file writes: a JSON object a line, each written at once when the
// thing has happened. Every line has "v" (1; it changes when a field changes its meaning, not when
// one is added), "time" (RFC 3339, UTC) and "event":
//
//	event    fields                                    when
//	pulled   image, digest, bytes, seconds             the image is there and the registry was asked;
//	                                                   bytes came from it, layers only
//	cached   image, digest, seconds                    the image is there and nobody was asked
//	started  id, pid, name, labels, image, digest      the command is running; pid is the host's
//	oom      kills, limit                              the memory limit, in bytes, has killed processes
//	exited   status, signal, seconds                   the command has ended
//	failed   status, error, hint                       umiak has failed, or could not start the command
//
// The last line is "exited" or "failed", never both: so a script can tell the command's exit status
// 125 from umiak's own. Neither is there if umiak itself was killed. The status is the one that
// umiak exits with: the command's, or 128 and the signal that ended it, such as "SIGKILL", which is
// else null; 125, 126 (found but can't be started), 127 (not found) or 128 and a signal that ended
// umiak's own work. name, limit, hint and a digest are null where there is none, seconds a decimal number.
//
// A nil statusFile writes nothing.
type statusFile struct {
	mu   sync.Mutex
	out  *output
	err  error // the first; nothing is written after it
	done bool  // the last line has been written
}

// newStatusFile opens FILE, anew, or takes the inherited descriptor that fd:N names.
func newStatusFile(spec string) (*statusFile, error) {
	out, err := openOutput(spec)
	if err != nil {
		return nil, fmt.Errorf("--status-file: %w", err)
	}
	return &statusFile{out: out}, nil
}

// close gives the first error of any write: it is worth a warning once nobody's terminal is in use.
func (s *statusFile) close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return nil
	}
	err := errors.Join(s.err, s.out.close())
	s.out, s.done = nil, true
	if err != nil {
		return fmt.Errorf("writing the status file: %w", err)
	}
	return nil
}

// eventHead is how each line begins.
type eventHead struct {
	V     int    `json:"v"`
	Time  string `json:"time"`
	Event string `json:"event"`
}

func (e *eventHead) head() *eventHead { return e }

// fetched tells that the image is there.
func (s *statusFile) fetched(r *pull.Result, took time.Duration) {
	if s == nil {
		return
	}
	e := &struct {
		eventHead
		Image   string  `json:"image"`
		Digest  *string `json:"digest"`
		Bytes   *int64  `json:"bytes,omitempty"`
		Seconds float64 `json:"seconds"`
	}{Image: r.Image.Reference.String(), Digest: orNull(r.Image.Digest.String()), Seconds: seconds(took)}
	name := "cached"
	if r.Pulled {
		name, e.Bytes = "pulled", &r.Bytes
	}
	s.write(name, e)
}

// started tells that the command runs. There is no image in a run of a plain directory.
func (s *statusFile) started(id string, pid int, name string, labels map[string]string, img *image.Image) {
	if s == nil {
		return
	}
	e := &struct {
		eventHead
		ID     string            `json:"id"`
		Pid    int               `json:"pid"`
		Name   *string           `json:"name"`
		Labels map[string]string `json:"labels"`
		Image  *string           `json:"image"`
		Digest *string           `json:"digest"`
	}{ID: id, Pid: pid, Name: orNull(name), Labels: labels}
	if e.Labels == nil {
		e.Labels = map[string]string{}
	}
	if img != nil {
		e.Image, e.Digest = orNull(img.Reference.String()), orNull(img.Digest.String())
	}
	s.write("started", e)
}

// exited tells how the command ended, and before that of processes killed for want of memory. The
// status is what umiak makes of it.
func (s *statusFile) exited(st run.Status, status int, memoryLimit *int64) {
	if s == nil {
		return
	}
	if st.OOMKills > 0 {
		s.write("oom", &struct {
			eventHead
			Kills uint64 `json:"kills"`
			Limit *int64 `json:"limit"`
		}{Kills: st.OOMKills, Limit: memoryLimit})
	}
	s.last("exited", &struct {
		eventHead
		Status  int     `json:"status"`
		Signal  *string `json:"signal"`
		Seconds float64 `json:"seconds"`
	}{Status: status, Signal: signalName(st.Signal), Seconds: seconds(st.Usage.Wall())})
}

// failed tells of an error that umiak is about to end with. None, and a status that is the
// command's own, is nothing to tell.
func (s *statusFile) failed(ctx context.Context, err error) {
	if s == nil || err == nil || isStatus(err) {
		return
	}
	if i, ok := errors.AsType[interrupted](context.Cause(ctx)); ok {
		err = i
	}
	hints, code := explain(err)
	s.last("failed", &struct {
		eventHead
		Status int     `json:"status"`
		Error  string  `json:"error"`
		Hint   *string `json:"hint"`
	}{Status: code, Error: shortened(err.Error()), Hint: orNull(shortened(strings.Join(hints, "; ")))})
}

// signalName is nil for none.
func signalName(n syscall.Signal) *string {
	name := unix.SignalName(n)
	if name == "" && n != 0 {
		name = "SIG" + itoa(int(n)) // a real-time signal
	}
	return orNull(name)
}

func (s *statusFile) last(name string, e interface{ head() *eventHead }) {
	s.write(name, e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
}

func (s *statusFile) write(name string, e interface{ head() *eventHead }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.done {
		return
	}
	*e.head() = eventHead{1, time.Now().UTC().Format(time.RFC3339Nano), name}
	line, err := encodeJSON(e, "")
	if err == nil {
		err = s.out.write(line)
	}
	s.err = err
}

// encodeJSON leaves <, > and & as they are: nobody puts this into a web page.
func encodeJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return b.Bytes(), err
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// seconds to the microsecond.
func seconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }

// shortened makes a text fit for a line: one, of no more than a pipe takes in one piece (PIPE_BUF).
func shortened(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\n", "; "))
	const most = 900
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// output is a file that machines read, named on the command line. Writing to it never waits long.
type output struct {
	fd   int
	name string
}

// patience is how long a write waits for a reader that doesn't read, and an open for one to come.
const patience = 2 * time.Second

// openOutput opens FILE for writing, empty, or takes the inherited descriptor of fd:N.
func openOutput(spec string) (*output, error) {
	number, inherited := strings.CutPrefix(spec, "fd:")
	switch {
	case spec == "":
		return nil, errors.New("it takes a file's name or fd:N")
	case spec == "-":
		return nil, hinted(errors.New("standard output belongs to the command"), "name a file, or a descriptor of your own: fd:3 with 3>file")
	case inherited:
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil {
			return nil, hinted(fmt.Errorf("%s: not a descriptor", spec), "it is fd:N with a number; a file of that name is ./"+spec)
		}
		return inheritedOutput(int(n))
	}
	fd, err := openNoWait(spec)
	if err == nil {
		err = empty(fd)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", spec, err)
	}
	return &output{fd, spec}, nil
}

// empty truncates a file, unless it is one that our caller has sent the command's output to: as
// /dev/stderr it would lose what others have written.
func empty(fd int) error {
	var st, std unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	for n := 1; n <= 2; n++ {
		if unix.Fstat(n, &std) == nil && std.Dev == st.Dev && std.Ino == st.Ino {
			return nil
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	return unix.Ftruncate(fd, 0)
}

// openNoWait does not wait forever for a reader of a fifo.
func openNoWait(name string) (int, error) {
	for end := time.Now().Add(patience); ; {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o644)
		switch {
		case err == unix.EINTR:
		case err == unix.ENXIO && time.Now().Before(end):
			time.Sleep(10 * time.Millisecond)
		default:
			return fd, err
		}
	}
}

// inheritedOutput takes descriptor n if our caller has opened it for writing for us. What we have
// opened ourselves is always close-on-exec, and nothing that we inherit can be.
func inheritedOutput(n int) (*output, error) {
	name := "fd:" + itoa(n)
	if n <= 2 {
		return nil, hinted(fmt.Errorf("%s belongs to the command", name), "redirect another: fd:3 with 3>file")
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil, hinted(fmt.Errorf("%s is not open, or in use already", name), "the caller opens it: "+itoa(n)+">file")
	}
	mode, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if access := mode & unix.O_ACCMODE; mode&unix.O_PATH != 0 || access != unix.O_WRONLY && access != unix.O_RDWR {
		return nil, fmt.Errorf("%s is not open for writing", name)
	}
	unix.CloseOnExec(n) // the command must not get it
	return &output{n, name}, nil
}

// write writes all of b, unless the reader stops reading. What the caller shares with us stays in
// the mode it was in, so poll(2) says when there is room: a page, if it is a pipe.
func (o *output) write(b []byte) error {
	const piece = 4096
	for end := time.Now().Add(patience); len(b) > 0; {
		left := time.Until(end).Milliseconds()
		if left <= 0 {
			return fmt.Errorf("%s: its reader does not read", o.name)
		}
		ready := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(ready, int(left))
		if n > 0 {
			n, err = unix.Write(o.fd, b[:min(len(b), piece)])
		}
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
		case err != nil:
			return fmt.Errorf("%s: %w", o.name, err)
		default:
			b = b[n:]
		}
	}
	return nil
}

func (o *output) close() error {
	if err := unix.Close(o.fd); err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	return nil
}
