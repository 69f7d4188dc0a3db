package run

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/child"
)

// TestMain makes the test binary three things: the tests, the child that Reexec starts, and the
// program that runs inside the containers.
func TestMain(m *testing.M) {
	if child.Main() {
		return
	}
	if filepath.Base(os.Args[0]) == "probe" {
		probe(os.Args[1], os.Args[2:])
		return
	}
	switch os.Args[0] {
	case "umiak-that-dies":
		thatDies(os.Args[1])
		return
	case "umiak-that-passes":
		thatPasses(os.Args[1])
		return
	}
	os.Exit(m.Run())
}

// view is what a program sees from inside.
type view struct {
	Pid, Ppid          int
	Hostname, Cwd      string
	Uid, Gid           int
	Groups             []int
	Env                []string
	Fds                []string
	Mounts             []string // "mountpoint type options"
	Root, Dev, Procs   []string // directory entries; Procs are the pids in /proc
	Status             map[string]string
	Interfaces         []string
	Resolv, Hosts      string
	TTY                string
	Umask              int
	Canary             bool // a name of the host's is visible
	Cgroup             string
	SelfExe            string
	Session, Pgrp      int
	KernelSwitchWrites bool
}

func probe(what string, args []string) {
	switch what {
	case "look":
		json.NewEncoder(os.Stdout).Encode(look(args))
	case "facts":
		printFacts(args[0])
	case "exit":
		n, _ := strconv.Atoi(args[0])
		os.Exit(n)
	case "write":
		if err := os.WriteFile(args[0], []byte(args[1]), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "sleep":
		// Go catches every signal; most programs leave these to their default.
		var dfl [4]uint64
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
		}
		fmt.Println("ready")
		syscall.Pause()
	case "handle":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		<-c
		os.Exit(42)
	case "eat":
		eat()
	case "work":
		work()
	case "fd3":
		if _, err := os.NewFile(3, "3").WriteString("through 3"); err != nil {
			os.Exit(1)
		}
	case "openexe":
		// While it runs opening it for writing is refused anyway (ETXTBSY); what counts is later.
		var st unix.Statfs_t
		err := unix.Statfs("/proc/1/exe", &st)
		fmt.Println(err, st.Flags&unix.ST_RDONLY != 0)
	case "orphans":
		orphans()
	case "fork":
		forkMany()
	case "leave":
		syscall.ForkExec("/proc/self/exe", []string{"probe", "exit", "0"}, &syscall.ProcAttr{})
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Second)
	}
}

// orphans leaves grandchildren to the init and waits until it has reaped them.
func orphans() {
	for range 5 {
		// A child that starts another and ends at once.
		if err := (&exec.Cmd{Path: "/proc/self/exe", Args: []string{"probe", "leave"}}).Run(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	for range 100 {
		zombies := 0
		for _, n := range names("/proc") {
			if b := read("/proc/" + n + "/stat"); strings.Contains(b, ") Z ") {
				zombies++
			}
		}
		if zombies == 0 && len(names("/proc")) > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	os.Exit(9)
}

func eat() {
	var all [][]byte
	for range 1000 {
		b := make([]byte, 10<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println("ate", len(all))
}

// forkMany prints how many processes it could start.
func forkMany() {
	n := 0
	for range 200 {
		if _, err := syscall.ForkExec("/proc/self/exe", []string{"probe", "sleep"}, &syscall.ProcAttr{}); err != nil {
			break
		}
		n++
	}
	fmt.Println(n)
}

func look(args []string) view {
	v := view{Pid: os.Getpid(), Ppid: os.Getppid(), Uid: os.Getuid(), Gid: os.Getgid(), Env: os.Environ(), Status: map[string]string{}}
	v.Hostname, _ = os.Hostname()
	v.Cwd, _ = os.Getwd()
	v.Groups, _ = os.Getgroups()
	v.Root, v.Dev = names("/"), names("/dev")
	v.Fds = names("/proc/self/fd")
	for _, n := range names("/proc") {
		if _, err := strconv.Atoi(n); err == nil {
			v.Procs = append(v.Procs, n)
		}
	}
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		f := strings.Fields(line)
		v.Mounts = append(v.Mounts, f[4]+" "+f[len(f)-3]+" "+f[5])
	}
	for line := range strings.Lines(read("/proc/self/status")) {
		k, x, _ := strings.Cut(line, ":")
		v.Status[k] = strings.TrimSpace(x)
	}
	for line := range strings.Lines(read("/proc/self/net/dev")) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			v.Interfaces = append(v.Interfaces, strings.TrimSpace(name))
		}
	}
	v.Resolv, v.Hosts, v.Cgroup = read("/etc/resolv.conf"), read("/etc/hosts"), read("/proc/self/cgroup")
	v.TTY, _ = os.Readlink("/proc/self/fd/0")
	v.SelfExe, _ = os.Readlink("/proc/self/exe")
	v.Umask = syscall.Umask(0)
	v.Session, _ = unix.Getsid(0)
	v.Pgrp = syscall.Getpgrp()
	if len(args) > 0 {
		_, err := os.Lstat(args[0])
		v.Canary = err == nil
	}
	f, err := os.OpenFile("/proc/sys/kernel/hostname", os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	v.KernelSwitchWrites = err == nil
	return v
}

func names(dir string) []string {
	es, _ := os.ReadDir(dir)
	var ns []string
	for _, e := range es {
		ns = append(ns, e.Name())
	}
	return ns
}

func read(name string) string {
	b, _ := os.ReadFile(name)
	return string(b)
}
