package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shell starts sh, as a process of its own, with stdin from a pipe.
func shell(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command("sh", args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestShell(t *testing.T) {
	dir := commandsDir(t)
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("echo $0 $1\nexit 4\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args                []string
		stdin, want, errors string
		status              int
	}{
		{args: []string{"-c", "echo $0 $1; false", "name", "one"}, want: "name one\n", status: 1},
		{args: []string{"-c", "echo $0"}, want: "sh\n"},
		{args: []string{"-ec", "false; echo not reached"}, status: 1},
		{args: []string{"-c", "cat | wc -l"}, stdin: "1\n2\n", want: "2\n"},
		{args: []string{"-c", "nosuch"}, errors: "\"nosuch\": executable file not found in $PATH\n", status: 127},
		{args: []string{"-c", "if"}, errors: "sh: sh:1:1: `if` must be followed by a statement list\n", status: 2},
		{args: []string{"-c"}, errors: "usage: sh [-eux] [-c COMMAND [NAME [ARGS...]] | FILE [ARGS...]]\n", status: 2},
		{args: []string{"-c", "sh -c 'kill -9 $$'; echo $?; exit 7"}, want: "137\n", status: 7},
		{args: []string{"-c", "sleep 0.1 & kill -0 $$ && echo there"}, want: "there\n"},
		{args: []string{script, "arg"}, want: script + " arg\n", status: 4},
		{args: []string{"/nope"}, errors: "sh: open /nope: no such file or directory\n", status: 127},
		// Input is read no further than the command needs, so the next one gets the rest.
		{stdin: "head -1\ninput\necho after\n", want: "input\n", errors: ""},
		{stdin: "echo one\nfor i in 2 3\ndo echo $i\ndone\nfalse\n", want: "one\n2\n3\n", status: 1},
		{stdin: "echo one; exit 5\necho not reached\n", want: "one\n", status: 5},
		{stdin: "trap 'echo bye' EXIT\nfalse\n", want: "bye\n", status: 1},
		{stdin: "echo one\nfi\necho not reached\n", want: "one\n", status: 2, errors: "sh: 2:1: `fi` can only be used to end an `if`\n"},
		{args: []string{"-s", "arg"}, stdin: "echo $1", want: "arg\n"},
	} {
		out, errs, status := shell(t, test.stdin, test.args...)
		if out != test.want || errs != test.errors || status != test.status {
			t.Errorf("%q < %q: status %d, output %q, errors %q; want %d, %q, %q", test.args, test.stdin, status, out, errs,
				test.status, test.want, test.errors)
		}
	}
}

// TestPidOneEndsBySignal: in a pid namespace of its own the shell is pid 1, whom signals at their default don't touch.
func TestPidOneEndsBySignal(t *testing.T) {
	commandsDir(t)
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for _, args := range [][]string{{"sh", "-c", "echo $$; sleep 60"}, {"sh", "-c", "echo $$; while true; do :; done"}, {"eat", "1m", "60"}} {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); errors.Is(err, unix.EPERM) {
				t.Skip("needs root: a pid namespace")
			} else if err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(out).ReadString('\n') // it is ready
			if args[0] == "sh" && line != "1\n" {
				t.Errorf("%q: $$ is %q", args, line)
			}
			cmd.Process.Signal(sig)
			cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("%q, %v: status %d, want %d", args, sig, got, want)
			}
		}
	}
}

// terminal opens a pseudo terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs a terminal: ", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("needs a terminal: ", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Skip("needs a terminal: ", errno)
	}
	return master, os.NewFile(fd, "slave")
}

func TestShellOnTerminal(t *testing.T) {
	commandsDir(t)
	master, slave := terminal(t)
	cmd := exec.Command("sh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	hang := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer hang.Stop()

	const interrupt, end = "\x03", "\x04"
	session := &session{t: t, terminal: master}
	session.expect("$ ")
	session.send("echo a$((1+1))b\n")
	session.expect("a2b\r\n$ ")
	session.send("for i in 1\n")
	session.expect("> ")
	session.send("do echo x$i; done\n")
	session.expect("x1\r\n$ ")
	session.send("half a line" + interrupt)
	session.expect("\n$ ")
	session.send("eat 1m 60\n")
	session.expect("ate 1M\r\n")
	session.send(interrupt)
	session.expect("$ ")
	session.send("echo st$?\n")
	session.expect("st130\r\n$ ")
	session.send("echo go; while true; do :; done\n")
	session.expect("go\r\n")
	session.send(interrupt)
	session.expect("$ ")
	session.send("fi\n")
	session.expect("`fi` can only be used")
	session.expect("$ ")
	session.send("sh -c 'exit 3'\n")
	session.expect("$ ")
	session.send(end)
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("status %d, want that of the last command, 3", got)
	}
}

// session is a conversation over a terminal.
type session struct {
	t        *testing.T
	terminal io.ReadWriter
	heard    string
}

func (s *session) send(text string) { io.WriteString(s.terminal, text) }

// expect reads on until it has heard what it waits for, and forgets all up to there.
func (s *session) expect(text string) {
	s.t.Helper()
	buf := make([]byte, 4096)
	for {
		if _, after, ok := strings.Cut(s.heard, text); ok {
			s.heard = after
			return
		}
		n, err := s.terminal.Read(buf)
		if err != nil {
			s.t.Fatalf("waiting for %q after %q: %v", text, s.heard, err)
		}
		s.heard += string(buf[:n])
	}
}
