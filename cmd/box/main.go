// Command box is the whole user land of the demo image: one static binary that is a shell and some thirty commands,
// each found by the name it is called by (a link to box) or as `box NAME ARGS`.
//
// It promises to be small and honest: a command does the part of its namesake that a demo, a test or a person looking
// around in a container needs, says usage and status 2 to what it does not know, and never pretends.
// It does not promise POSIX. It may import nothing heavy, since its size is the size of the image.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// streams are a command's standard streams; tests give it others than the process's.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// A status is an error that has already said all it has to say.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// errUsage makes dispatch print the command's usage line and return status 2.
var errUsage = errors.New("usage")

func main() {
	if os.Getpid() == 1 {
		endBySignal()
	}
	os.Exit(dispatch(streams{os.Stdin, os.Stdout, os.Stderr}, os.Args))
}

// endBySignal makes pid 1 end as any other process would. The kernel drops signals to pid 1 whose action is the
// default one (pid_namespaces(7)), and Go's runtime, which dies by re-raising them, then exits with 2.
func endBySignal() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		if s, ok := (<-c).(syscall.Signal); ok {
			os.Exit(128 + int(s))
		}
	}()
}

// dispatch runs the command that argv names and returns its exit status.
func dispatch(s streams, argv []string) int {
	name, args := called(argv)
	if name == "" || name == "--help" {
		fmt.Fprintln(s.out, "usage: box COMMAND [ARGS...]\ncommands: "+strings.Join(names(), " "))
		return 0
	}
	c, ok := lookup(name)
	if !ok {
		fmt.Fprintf(s.err, "box: no command %q\n", name)
		return 127
	}
	return exitStatus(s.err, c, c.run(s, args))
}

// called tells the command from argv: the base name, without the dash of a login shell, or the word after "box".
func called(argv []string) (name string, args []string) {
	if len(argv) == 0 {
		return "", nil
	}
	name = strings.TrimPrefix(filepath.Base(argv[0]), "-")
	if _, ok := lookup(name); ok {
		return name, argv[1:]
	}
	if len(argv) == 1 {
		return "", nil
	}
	return argv[1], argv[2:]
}

// exitStatus says on w what went wrong, one line for each thing that did, and turns it into a status.
func exitStatus(w io.Writer, c command, err error) int {
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[status](err); ok {
		return int(s)
	}
	if errors.Is(err, errUsage) {
		fmt.Fprintf(w, "usage: %s\n", strings.TrimSpace(c.name+" "+c.usage))
		return 2
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "%s: %s\n", c.name, strings.TrimSuffix(line, "\n"))
	}
	return 1
}
