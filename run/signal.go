package run

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signal does to the container what the signal does to an ordinary process. The kernel discards a
// signal for the first process of a pid namespace unless the process handles it
// (pid_namespaces(7)), which leaves many a program deaf to Ctrl-C; so where the signal's default
// is to end the process, the container is ended, and Wait reports the signal. After the
// container's end nothing is done and that is no error.
func (k *Container) Signal(s syscall.Signal) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return nil
	}
	if k.defaulted(s) {
		return k.kill(s)
	}
	return k.send(s)
}

// Interrupted does the same for a signal that a terminal has sent to the process group
// foreground: only the container's first process may have missed it.
func (k *Container) Interrupted(s syscall.Signal, foreground int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return nil
	}
	group, err := unix.Getpgid(k.process.Pid)
	if err != nil || group != foreground || !k.defaulted(s) {
		return nil
	}
	return k.kill(s)
}

func (k *Container) kill(as syscall.Signal) error {
	k.killedAs = as
	return k.send(syscall.SIGKILL)
}

func (k *Container) send(s syscall.Signal) error {
	if err := unix.PidfdSendSignal(k.process.Pidfd, s, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("sending %v to the container: %w", s, err)
	}
	return nil
}

// ending are the signals whose default is to end a process, signal(7), of those a user sends.
var ending = map[syscall.Signal]bool{
	syscall.SIGHUP: true, syscall.SIGINT: true, syscall.SIGQUIT: true, syscall.SIGTERM: true, syscall.SIGUSR1: true,
	syscall.SIGUSR2: true, syscall.SIGALRM: true, syscall.SIGVTALRM: true, syscall.SIGPROF: true, syscall.SIGIO: true, syscall.SIGPWR: true,
}

// defaulted says whether the container's first process leaves s to a default that would end it.
// When that can't be told (no /proc) the signal is left to the kernel.
func (k *Container) defaulted(s syscall.Signal) bool {
	if !ending[s] {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", k.process.Pid))
	return err == nil && !handles(string(b), s)
}

// handles reads the masks of ignored and caught signals from /proc/pid/status, proc_pid_status(5).
func handles(status string, s syscall.Signal) bool {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigIgn" && name != "SigCgt" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil || mask&(1<<(uint(s)-1)) != 0 {
			return true
		}
	}
	return false
}
