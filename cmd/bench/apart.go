package main

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// inside, set, says that this process has a mount namespace of its own.
const inside = "UMIAK_BENCH_INSIDE"

// apart runs this program again in a mount namespace of its own, so that nothing it mounts is seen outside or outlives
// it, however it ends. Where that is not allowed (done is false, root too) the caller goes on without mounts.
func apart() (root bool, status int, done bool) {
	if os.Getenv(inside) != "" {
		return true, 0, false
	}
	if os.Geteuid() != 0 {
		return false, 0, false
	}
	// The child is to go when this process does, which the kernel takes for: this thread (PR_SET_PDEATHSIG(2const)).
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// With Unshareflags the standard library makes every mount private too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		return false, 0, false // root in name only, as in a container
	}
	go func() {
		for range signals { // a terminal sends SIGINT to both; once more does no harm
			cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return true, 128 + int(ws.Signal()), true
	}
	return true, cmd.ProcessState.ExitCode(), true
}
