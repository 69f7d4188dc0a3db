package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func ps(s streams, args []string) error {
	if len(args) > 0 {
		return errUsage
	}
	entries, err := os.ReadDir("/proc") // sorted as text: numbers are sorted below, by their length first
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%5s %5s %-8s %-4s %s\n", "PID", "PPID", "USER", "STAT", "COMMAND")
	found := 0
	for digits := 1; digits <= 7; digits++ { // a pid is below 2^22 (proc_sys_kernel_pid_max(5))
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || len(e.Name()) != digits {
				continue
			}
			found++
			psLine(s.out, pid)
		}
	}
	if found == 0 {
		return errors.New("/proc shows no process: is it mounted?")
	}
	return nil
}

// psLine prints nothing for a process that ended meanwhile.
func psLine(w io.Writer, pid int) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	data, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return
	}
	comm, state, ppid := parseStat(string(data))
	cmdline, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return
	}
	shown := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
	if shown == "" {
		shown = "[" + comm + "]"
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return
	}
	fmt.Fprintf(w, "%5d %5s %-8s %-4s %s\n", pid, ppid, userName(st.Uid), state, shown)
}

// parseStat takes the first fields of /proc/PID/stat. The name is in brackets and may itself hold brackets and
// spaces, so what counts is the last closing one.
func parseStat(line string) (comm, state, ppid string) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return "?", "?", "?"
	}
	fields := strings.Fields(line[end+1:])
	if len(fields) < 2 {
		return line[open+1 : end], "?", "?"
	}
	return line[open+1 : end], fields[0], fields[1]
}

func kill(_ streams, args []string) error {
	sig := unix.SIGTERM
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name := strings.TrimPrefix(args[0], "-")
		args = args[1:]
		if n, err := strconv.Atoi(name); err == nil {
			sig = unix.Signal(n)
		} else if sig = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); sig == 0 {
			return errUsage
		}
	}
	if len(args) == 0 {
		return errUsage
	}
	var errs []error
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return errUsage
		}
		if err := unix.Kill(pid, sig); err != nil {
			errs = append(errs, fmt.Errorf("%d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

func env(s streams, args []string) error {
	vars := os.Environ()
	for len(args) > 0 && strings.Contains(args[0], "=") {
		vars, args = append(vars, args[0]), args[1:]
	}
	if len(args) == 0 {
		for _, v := range vars {
			fmt.Fprintln(s.out, v)
		}
		return nil
	}
	if strings.HasPrefix(args[0], "-") {
		return errUsage
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		fmt.Fprintf(s.err, "env: %v\n", err)
		return status(127)
	}
	return &os.PathError{Op: "exec", Path: path, Err: unix.Exec(path, args, vars)}
}

func sleep(_ streams, args []string) error {
	d, err := seconds(args)
	if err != nil {
		return err
	}
	time.Sleep(d)
	return nil
}

// seconds reads the one argument of sleep; fractions are fine, anything time cannot count is not.
func seconds(args []string) (time.Duration, error) {
	if len(args) != 1 {
		return 0, errUsage
	}
	n, err := strconv.ParseFloat(args[0], 64)
	if err != nil || !(n >= 0 && n < 1e9) {
		return 0, errUsage
	}
	return time.Duration(n * float64(time.Second)), nil
}
