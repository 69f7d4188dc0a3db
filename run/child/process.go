package child

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func (k *compiler) hostname() {
	if h := k.Spec.Hostname; h != "" && k.has(specs.UTSNamespace) {
		k.begin("set the hostname")
		k.do("sethostname", unix.SYS_SETHOSTNAME, text(h), num(uint64(len(h))))
	}
	if d := k.Spec.Domainname; d != "" && k.has(specs.UTSNamespace) {
		k.begin("set the domain name")
		k.do("setdomainname", unix.SYS_SETDOMAINNAME, text(d), num(uint64(len(d))))
	}
}

// joinNetwork enters a network namespace that somebody else has made.
func (k *compiler) joinNetwork() {
	if k.network == "" {
		return
	}
	k.begin("join the network namespace")
	ns := k.save(k.do("openat", unix.SYS_OPENAT, cwd, text(k.network), named(unix.O_RDONLY|unix.O_CLOEXEC, "O_RDONLY|O_CLOEXEC"), num(0)), "network")
	k.do("setns", unix.SYS_SETNS, k.slot(ns), named(unix.CLONE_NEWNET, "CLONE_NEWNET"))
}

// loopback raises lo: a new network namespace has it, down.
func (k *compiler) loopback() {
	if !k.has(specs.NetworkNamespace) || k.network != "" {
		return
	}
	k.begin("raise lo in the new network")
	s := k.save(k.do("socket", unix.SYS_SOCKET, named(unix.AF_INET, "AF_INET"), named(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), num(0)), "socket")
	ifreq := make([]byte, 40)
	copy(ifreq, "lo")
	binary.NativeEndian.PutUint16(ifreq[unix.IFNAMSIZ:], unix.IFF_UP|unix.IFF_RUNNING)
	k.do("ioctl", unix.SYS_IOCTL, k.slot(s), named(unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"), data(ifreq, "{lo, IFF_UP}"))
}

func (k *compiler) cgroupNamespace() { k.unshareCgroup() }

// unshareCgroup makes our own group the root of the cgroup tree we see. It must come before a
// mount of that tree, and comes once.
func (k *compiler) unshareCgroup() {
	done := slices.ContainsFunc(k.list.Ops, func(o Op) bool { return o.Nr == unix.SYS_UNSHARE })
	if done || !k.has(specs.CgroupNamespace) {
		return
	}
	step := k.step
	k.begin("see our own cgroup as the root of them all")
	k.do("unshare", unix.SYS_UNSHARE, named(unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"))
	k.step = step
}

// streams gives the child its standard input, output and error, in a session of its own, always:
// a program that shared the caller's could type into its terminal (TIOCSTI, CVE-2017-5226). With
// a terminal of our own, it leads that session.
func (k *compiler) streams() {
	for _, sig := range k.Ignored {
		k.begin("ignore no signal that umiak ignores")
		dfl := make([]byte, 32) // struct sigaction of the kernel's: SIG_DFL is 0
		k.do("rt_sigaction", unix.SYS_RT_SIGACTION, named(uint64(sig), unix.SignalName(syscall.Signal(sig))), data(dfl, "SIG_DFL"), null, num(8))
	}
	k.begin("start a session of our own")
	k.do("setsid", unix.SYS_SETSID)
	if k.Terminal == nil {
		k.begin("take the standard streams")
		for n, from := range k.Stdio {
			if from != n {
				k.do("dup3", unix.SYS_DUP3, k.host(from, fmt.Sprint("stream", n)), num(uint64(n)), num(0))
			}
		}
		return
	}
	k.begin("take the terminal")
	slave := k.host(k.Terminal.SlaveFd, "terminal")
	k.do("ioctl", unix.SYS_IOCTL, slave, named(unix.TIOCSCTTY, "TIOCSCTTY"), num(0))
	for n := range uint64(3) {
		k.do("dup3", unix.SYS_DUP3, slave, num(n), num(0))
	}
}

// firstKept is the descriptor after those that the program inherits.
func (k *compiler) firstKept() uint64 { return 3 + uint64(k.Preserve) }

// closeDescriptors closes all but the program's streams, for good: from here on no path can lead
// out through /proc/self/fd (CVE-2024-21626), and nothing leaks into the program. What the last
// steps need is kept, by number: first above all of those numbers, so that none lands on another.
func (k *compiler) closeDescriptors() {
	k.begin("close every other descriptor")
	first := k.firstKept()
	kept := []Arg{k.host(k.ParentFd, "umiak")}
	if k.Init != "" {
		kept = append(kept, k.slot(k.exe), k.host(k.InitReport, "report"))
	}
	above := make([]Slot, len(kept))
	for i, from := range kept {
		above[i] = k.save(k.do("fcntl", unix.SYS_FCNTL, from, named(unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"), num(first+uint64(len(kept)))), "kept")
	}
	for i := range kept {
		flags := cloexec
		if i == 2 { // the init closes its report itself
			flags = num(0)
		}
		k.do("dup3", unix.SYS_DUP3, k.slot(above[i]), num(first+uint64(i)), flags)
	}
	k.do("close_range", unix.SYS_CLOSE_RANGE, num(first+uint64(len(kept))), named(1<<32-1, "~0"), num(0))
}

// workingDirectory makes the working directory if it is missing, as docker does, and enters it:
// from the inside, so that it can be nowhere else (CVE-2026-55686).
func (k *compiler) workingDirectory() {
	dir := strings.Trim(k.Spec.Process.Cwd, "/")
	if dir == "" {
		return
	}
	k.begin("enter the working directory /%s", dir)
	how := octal(unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC)
	how.Text = "O_PATH|O_DIRECTORY|O_CLOEXEC"
	root := k.save(k.do("openat", unix.SYS_OPENAT, cwd, text("/"), how, num(0)), "slash")
	if made := k.relative(dir); made != "" && k.err == nil {
		k.makeDirs(root, made, inRoot) // where links lead, dangling ones too: mkdirat(2) follows none
	}
	k.do("fchdir", unix.SYS_FCHDIR, k.slot(k.save(k.open(root, dir, unix.O_DIRECTORY, inRoot), "workdir")))
}

// rlimits by name, as getrlimit(2) has them.
var rlimits = map[string]uint64{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// limits sets what a process limits itself by; the cgroup's limits are the parent's work.
func (k *compiler) limits() {
	p := k.Spec.Process
	for _, r := range p.Rlimits {
		n, known := rlimits[r.Type]
		if !known {
			k.err = fmt.Errorf("rlimit %q: unknown", r.Type)
			return
		}
		k.begin("set %s", r.Type)
		b := make([]byte, 16)
		binary.NativeEndian.PutUint64(b, r.Soft)
		binary.NativeEndian.PutUint64(b[8:], r.Hard)
		k.do("prlimit64", unix.SYS_PRLIMIT64, num(0), named(n, r.Type), data(b, fmt.Sprintf("{%d, %d}", r.Soft, r.Hard)), null)
	}
	if p.OOMScoreAdj != nil {
		k.begin("tell the OOM killer how much we matter")
		f := k.save(k.do("openat", unix.SYS_OPENAT, cwd, text("/proc/self/oom_score_adj"), named(unix.O_WRONLY|unix.O_CLOEXEC, "O_WRONLY|O_CLOEXEC"), num(0)), "oom")
		v := fmt.Sprint(*p.OOMScoreAdj)
		k.do("write", unix.SYS_WRITE, k.slot(f), text(v), num(uint64(len(v))))
	}
	k.begin("set the umask")
	mask := uint64(0o022)
	if p.User.Umask != nil {
		mask = uint64(*p.User.Umask)
	}
	k.do("umask", unix.SYS_UMASK, octal(mask))
}

// privileges gives up what root could do, then root itself. The order is forced. The bounding set
// needs CAP_SETPCAP and the ids CAP_SETUID; setresuid(2) would clear the permitted set
// (PR_SET_KEEPCAPS) that capset(2) then cuts to what is wanted. A seccomp filter needs
// CAP_SYS_ADMIN, unless nothing can be gained any more (seccomp(2)), and is put in as late as
// possible: what follows it has to pass it.
func (k *compiler) privileges() {
	p := k.Spec.Process
	k.begin("have a keyring of our own")
	k.do("keyctl", unix.SYS_KEYCTL, named(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), null).allow(syscall.ENOSYS, syscall.EPERM)
	if p.Capabilities != nil {
		k.boundingSet(p.Capabilities.Bounding)
	}
	k.ids()
	k.dieWithParent()
	if k.Filter != nil && !p.NoNewPrivileges {
		if p.User.UID != 0 {
			k.keepAdmin(p.Capabilities)
		}
		k.seccomp()
	}
	if p.Capabilities != nil {
		k.capabilities(p.Capabilities)
	}
	if p.NoNewPrivileges {
		k.begin("never gain privileges again")
		k.do("prctl", unix.SYS_PRCTL, named(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"), num(1), num(0), num(0), num(0))
		k.want(k.do("prctl", unix.SYS_PRCTL, named(unix.PR_GET_NO_NEW_PRIVS, "PR_GET_NO_NEW_PRIVS"), num(0), num(0), num(0), num(0)), 1)
		if k.Filter != nil {
			k.seccomp()
		}
	}
}

// want makes a call's result part of the promise: another one is a failure.
func (k *compiler) want(o *Op, result uint64) { o.Kind, o.Want = exact, result }

func (k *compiler) boundingSet(names []string) {
	k.begin("give up privileges that no container needs")
	keep, err := capMask(names)
	if err != nil {
		k.err = err
		return
	}
	for n := range uint64(len(capNames)) {
		if keep&(1<<n) == 0 {
			k.do("prctl", unix.SYS_PRCTL, named(unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"), named(n, capName(n))).allow(syscall.EINVAL)
		}
	}
	k.do("prctl", unix.SYS_PRCTL, named(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"), num(1))
}

func (k *compiler) seccomp() {
	k.begin("forbid the system calls that no container needs")
	prog := make([]byte, 16) // struct sock_fprog: a count, and the address that assemble fills in
	binary.NativeEndian.PutUint16(prog, uint16(len(k.Filter.Program)/8))
	a := data(prog, fmt.Sprintf("{%d instructions}", len(k.Filter.Program)/8))
	a.Points = k.Filter.Program
	k.do("seccomp", unix.SYS_SECCOMP, named(unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"), num(k.Filter.Flags), a)
}

// ids sets the supplementary groups even when there are none: the caller's must not stay
// (CVE-2022-36109).
func (k *compiler) ids() {
	u := k.Spec.Process.User
	k.begin("become the user")
	gids := []byte{}
	for _, g := range u.AdditionalGids {
		gids = binary.NativeEndian.AppendUint32(gids, g)
	}
	if len(gids) == 0 {
		k.do("setgroups", unix.SYS_SETGROUPS, num(0), null)
	} else {
		k.do("setgroups", unix.SYS_SETGROUPS, num(uint64(len(u.AdditionalGids))), data(gids, strings.ReplaceAll(fmt.Sprint(u.AdditionalGids), " ", ", ")))
	}
	uid, gid := num(uint64(u.UID)), num(uint64(u.GID))
	k.do("setresgid", unix.SYS_SETRESGID, gid, gid, gid)
	k.do("setresuid", unix.SYS_SETRESUID, uid, uid, uid)
}

// keepAdmin makes what setresuid(2) has made ineffective effective again, for the filter's sake.
func (k *compiler) keepAdmin(c *specs.LinuxCapabilities) {
	if c == nil {
		return
	}
	permitted, err := capMask(c.Permitted)
	if err != nil {
		k.err = err
	}
	const admin = 1 << unix.CAP_SYS_ADMIN
	k.capset([3]uint64{admin, permitted | admin, 0})
}

// capset is effective, permitted, inheritable.
func (k *compiler) capset(masks [3]uint64) (header, sets []byte) {
	header = binary.NativeEndian.AppendUint32(nil, unix.LINUX_CAPABILITY_VERSION_3)
	header = append(header, 0, 0, 0, 0) // this thread
	for _, shift := range []uint{0, 32} {
		for _, m := range masks {
			sets = binary.NativeEndian.AppendUint32(sets, uint32(m>>shift))
		}
	}
	k.do("capset", unix.SYS_CAPSET, data(header, "v3"), data(sets, fmt.Sprintf("{effective %#x, permitted %#x, inheritable %#x}", masks[0], masks[1], masks[2])))
	return header, sets
}

// capabilities sets them and reads them back.
func (k *compiler) capabilities(c *specs.LinuxCapabilities) {
	k.begin("keep only these capabilities")
	var masks [4]uint64
	for i, names := range [][]string{c.Effective, c.Permitted, c.Inheritable, c.Ambient} {
		m, err := capMask(names)
		if err != nil {
			k.err = err
			return
		}
		masks[i] = m
	}
	k.do("prctl", unix.SYS_PRCTL, named(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"), named(unix.PR_CAP_AMBIENT_CLEAR_ALL, "CLEAR_ALL"), num(0), num(0), num(0))
	header, sets := k.capset([3]uint64(masks[:3]))
	for n := range uint64(len(capNames)) {
		if masks[3]&(1<<n) != 0 {
			k.do("prctl", unix.SYS_PRCTL, named(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"), named(unix.PR_CAP_AMBIENT_RAISE, "RAISE"), named(n, capName(n)), num(0), num(0))
		}
	}
	read := k.do("capget", unix.SYS_CAPGET, data(slices.Clone(header), "v3"), data(make([]byte, len(sets)), "{as set}"))
	read.Kind, read.Expect = same, sets
}

// dieWithParent: when umiak dies, however, so does its container. It comes after the change of
// ids, which would undo it; what comes later only takes privileges away, which does not. A parent
// that died before is found by its pidfd.
func (k *compiler) dieWithParent() {
	k.begin("die when umiak dies")
	k.do("prctl", unix.SYS_PRCTL, named(unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"), named(uint64(unix.SIGKILL), "SIGKILL"))
	pollfd := make([]byte, 8)
	binary.NativeEndian.PutUint32(pollfd, uint32(k.firstKept()))
	binary.NativeEndian.PutUint16(pollfd[4:], unix.POLLIN)
	now := make([]byte, 16) // struct timespec of 0: look, don't wait
	k.want(k.do("ppoll", unix.SYS_PPOLL, data(pollfd, "{umiak, POLLIN}"), num(1), data(now, "{0, 0}"), null, num(0)), 0)
}

// program looks the command up in PATH as execvp(3) does, but with the container's PATH, in the
// container's root, by trying.
func (k *compiler) program() {
	p := k.Spec.Process
	if k.Init != "" {
		k.begin("become an init that starts the program")
		argv := append([]string{initArgv0, fmt.Sprint(k.firstKept() + 2)}, p.Args...)
		k.do("execveat", unix.SYS_EXECVEAT, num(k.firstKept()+1), text(""), list(argv, "argv"), list(p.Env, "envp"), emptyPath).Kind = exec
		return
	}
	k.begin("become the program")
	paths := []string{p.Args[0]}
	if !strings.Contains(p.Args[0], "/") {
		paths = search(p.Env, p.Args[0])
	}
	for _, file := range paths {
		k.do("execve", unix.SYS_EXECVE, text(file), list(p.Args, "argv"), list(p.Env, "envp")).Kind = exec
	}
}

// Search lists the files that a command's name may mean, in the order in which they are tried: the
// name itself if it has a slash, else one in each directory of PATH.
func Search(env []string, cwd, name string) []string {
	if strings.Contains(name, "/") {
		return []string{absolute(cwd, name)}
	}
	files := search(env, name)
	for i, f := range files {
		files[i] = absolute(cwd, f)
	}
	return files
}

func absolute(cwd, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join("/", cwd, name)
}

func search(env []string, name string) []string {
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = v
		}
	}
	var paths []string
	for dir := range strings.SplitSeq(dirs, ":") {
		if dir == "" {
			dir = "."
		}
		paths = append(paths, strings.TrimSuffix(dir, "/")+"/"+name)
	}
	return paths
}
