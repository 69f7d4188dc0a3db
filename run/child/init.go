package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initArgv0 marks this program as a container's init.
const initArgv0 = "umiak-init"

// runInit is the container's first process under --init: it starts the command, passes on the
// signals it gets, reaps whatever is left to it, and ends as the command does. It is tini(1)'s job.
func runInit(report int, argv, env []string) int {
	unix.CloseOnExec(report)
	f := os.NewFile(uintptr(report), "report")
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pid, err := startCommand(argv, env)
	if err != nil {
		errno, _ := errors.AsType[syscall.Errno](err)
		_ = json.NewEncoder(f).Encode(outcome{Errno: errno})
		return 253
	}
	f.Close()
	go func() {
		for s := range signals {
			if sig := s.(syscall.Signal); sig != syscall.SIGCHLD && sig != syscall.SIGURG {
				_ = syscall.Kill(pid, sig)
			}
		}
	}()
	return reap(pid)
}

// InitReport reads the other end of the pipe that an init reports on, until the command has been
// started or could not be: then the error is an *[Error] of its exec.
func InitReport(r io.Reader) error {
	var o outcome
	err := json.NewDecoder(r).Decode(&o)
	switch {
	case err == io.EOF:
		return nil
	case err != nil:
		return fmt.Errorf("reading what the init says: %w", err)
	}
	return &Error{Step: "become the program", Call: "execve", Errno: o.Errno, Exec: true}
}

// reap waits for every process that ends, until the command does.
func reap(pid int) int {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 253
		case got == pid && ws.Signaled():
			return 128 + int(ws.Signal())
		case got == pid && ws.Exited():
			return ws.ExitStatus()
		}
	}
}

// startCommand looks the command up in PATH as execvp(3) does. It gets a process group of its own,
// in the foreground if there is a terminal, so that keys send signals to it and not to us.
func startCommand(argv, env []string) (int, error) {
	files := []string{argv[0]}
	if !strings.Contains(argv[0], "/") {
		files = search(env, argv[0])
	}
	_, notTerminal := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	denied := false
	for _, file := range files {
		pid, err := syscall.ForkExec(file, argv, &syscall.ProcAttr{
			Env: env, Files: []uintptr{0, 1, 2},
			Sys: &syscall.SysProcAttr{Setpgid: true, Foreground: notTerminal == nil, Ctty: 0},
		})
		errno, _ := err.(syscall.Errno)
		switch {
		case err == nil:
			return pid, nil
		case errno == syscall.EACCES:
			denied = true
		case !passedOver(errno):
			return 0, errno
		}
	}
	if denied {
		return 0, syscall.EACCES
	}
	return 0, syscall.ENOENT
}

// initArgs reads what program() has written into argv.
func initArgs(args []string) (report int, argv []string, ok bool) {
	if len(args) < 3 || args[0] != initArgv0 {
		return 0, nil, false
	}
	report, err := strconv.Atoi(args[1])
	return report, args[2:], err == nil
}
