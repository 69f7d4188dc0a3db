package spec

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Validate checks what can be known of a spec without the machine, whoever
// wrote it. It does not forbid what umiak would never write itself.
func Validate(s *specs.Spec) error {
	if s == nil || s.Process == nil || s.Root == nil || s.Linux == nil {
		return invalidf("spec without process, root or linux part")
	}
	for _, check := range []func(*specs.Spec) error{
		checkRoot,
		checkHostname,
		checkDomainname,
		checkArgs,
		checkEnv,
		checkCwd,
		checkUser,
		checkCapabilities,
		checkRlimits,
		checkMounts,
		checkPaths,
		checkNamespaces,
		checkMemory,
		checkCPU,
		checkPids,
		checkBlockIO,
		checkProcess,
		checkDevices,
		checkSysctls,
		checkCgroupsPath,
		checkAnnotations,
	} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// hasNUL finds what can't be passed to the kernel: it would see less than the
// checks saw.
func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }

func checkRoot(s *specs.Spec) error {
	if !path.IsAbs(s.Root.Path) || hasNUL(s.Root.Path) {
		return invalidf("root %q: want an absolute path", s.Root.Path)
	}
	return nil
}

func checkHostname(s *specs.Spec) error {
	switch {
	case s.Hostname == "":
		return nil
	case !isName(s.Hostname):
		return invalidf("host name %q: want letters, digits, '_', '.' and '-', at most %d, the first a letter or a digit", s.Hostname, maxName)
	case !hasNamespace(s, specs.UTSNamespace):
		return invalidf("host name %q without a UTS namespace: it would be the host's", s.Hostname)
	}
	return nil
}

func checkDomainname(s *specs.Spec) error {
	switch {
	case s.Domainname == "":
		return nil
	case !isName(s.Domainname):
		return invalidf("domain name %q: want letters, digits, '_', '.' and '-', at most %d, the first a letter or a digit", s.Domainname, maxName)
	case !hasNamespace(s, specs.UTSNamespace):
		return invalidf("domain name %q without a UTS namespace: it would be the host's", s.Domainname)
	}
	return nil
}

// checkProcess has what is a number and little else.
func checkProcess(s *specs.Spec) error {
	if adj := s.Process.OOMScoreAdj; adj != nil && (*adj < -1000 || *adj > 1000) {
		return invalidf("OOM score %d: want -1000..1000", *adj)
	}
	if umask := s.Process.User.Umask; umask != nil && *umask > 0o777 {
		return invalidf("umask %o: want an octal number up to 0777", *umask)
	}
	return nil
}

func checkCgroupsPath(s *specs.Spec) error {
	p := s.Linux.CgroupsPath
	if hasNUL(p) || slices.Contains(strings.Split(p, "/"), "..") {
		return invalidf("cgroup path %q: want one without ..", p)
	}
	return nil
}

func checkArgs(s *specs.Spec) error {
	if len(s.Process.Args) == 0 || s.Process.Args[0] == "" {
		return invalidf("no command to run")
	}
	for _, arg := range s.Process.Args {
		if hasNUL(arg) {
			return invalidf("argument %q: contains a NUL byte", arg)
		}
	}
	return nil
}

func checkEnv(s *specs.Spec) error {
	for _, kv := range s.Process.Env {
		if strings.IndexByte(kv, '=') < 1 || hasNUL(kv) {
			return invalidf("environment variable %q: want NAME=VALUE without NUL bytes", kv)
		}
	}
	return nil
}

func checkCwd(s *specs.Spec) error {
	if !path.IsAbs(s.Process.Cwd) || hasNUL(s.Process.Cwd) {
		return invalidf("working directory %q: want an absolute path", s.Process.Cwd)
	}
	return nil
}

func checkUser(s *specs.Spec) error {
	u := s.Process.User
	tooLarge := func(id uint32) bool { return id > maxID }
	if tooLarge(u.UID) || tooLarge(u.GID) || slices.ContainsFunc(u.AdditionalGids, tooLarge) {
		return invalidf("user %d:%d: ids must be in 0..%d", u.UID, u.GID, uint32(maxID))
	}
	if len(u.AdditionalGids) > maxGroups {
		return invalidf("user in %d groups: the kernel allows %d", len(u.AdditionalGids), maxGroups)
	}
	return nil
}

// checkCapabilities has the kernel's rules (capabilities(7)): effective within
// permitted, ambient within permitted and inheritable.
func checkCapabilities(s *specs.Spec) error {
	c := s.Process.Capabilities
	if c == nil {
		return nil
	}
	for _, list := range [][]string{c.Bounding, c.Effective, c.Permitted, c.Inheritable, c.Ambient} {
		for _, name := range list {
			if !slices.Contains(capabilities[:], name) {
				return invalidf("capability %q: unknown", name)
			}
		}
	}
	for _, name := range c.Effective {
		if !slices.Contains(c.Permitted, name) {
			return invalidf("capability %s: effective but not permitted", name)
		}
	}
	for _, name := range c.Ambient {
		if !slices.Contains(c.Permitted, name) || !slices.Contains(c.Inheritable, name) {
			return invalidf("capability %s: ambient but not both permitted and inheritable", name)
		}
	}
	return nil
}

// rlimits are those of getrlimit(2).
var rlimits = [...]string{
	"RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS",
	"RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS",
	"RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
}

func checkRlimits(s *specs.Spec) error {
	seen := map[string]bool{}
	for _, r := range s.Process.Rlimits {
		switch {
		case !slices.Contains(rlimits[:], r.Type):
			return invalidf("resource limit %q: unknown; want a name as in RLIMIT_NOFILE", r.Type)
		case seen[r.Type]:
			return invalidf("resource limit %s: given twice", r.Type)
		case r.Soft > r.Hard:
			return invalidf("resource limit %s: soft limit %d above hard limit %d", r.Type, r.Soft, r.Hard)
		}
		seen[r.Type] = true
	}
	return nil
}

func checkMounts(s *specs.Spec) error {
	for _, m := range s.Mounts {
		switch {
		case !path.IsAbs(m.Destination) || hasNUL(m.Destination):
			return invalidf("mount on %q: want an absolute path", m.Destination)
		case path.Clean(m.Destination) == "/":
			return invalidf("mount on %q: it would hide the root", m.Destination)
		case isBind(m) && (m.Source == "" || hasNUL(m.Source)):
			return invalidf("mount on %q: nothing to bind", m.Destination)
		case !isBind(m) && (m.Type == "" || hasNUL(m.Type) || hasNUL(m.Source)):
			return invalidf("mount on %q: no type of file system", m.Destination)
		case slices.ContainsFunc(m.Options, hasNUL):
			return invalidf("mount on %q: an option contains a NUL byte", m.Destination)
		}
	}
	return nil
}

func isBind(m specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

func checkPaths(s *specs.Spec) error {
	for _, p := range slices.Concat(s.Linux.MaskedPaths, s.Linux.ReadonlyPaths) {
		if !path.IsAbs(p) || hasNUL(p) {
			return invalidf("masked or read-only path %q: want an absolute path", p)
		}
	}
	return nil
}

func hasNamespace(s *specs.Spec, t specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t })
}

func checkNamespaces(s *specs.Spec) error {
	known := []specs.LinuxNamespaceType{
		specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace,
		specs.NetworkNamespace, specs.UserNamespace, specs.TimeNamespace,
	}
	seen := map[specs.LinuxNamespaceType]bool{}
	for _, n := range s.Linux.Namespaces {
		switch {
		case !slices.Contains(known, n.Type):
			return invalidf("namespace %q: unknown", n.Type)
		case seen[n.Type]:
			return invalidf("namespace %q: given twice", n.Type)
		case n.Path != "" && (!path.IsAbs(n.Path) || hasNUL(n.Path)):
			return invalidf("namespace %q: path %q is not absolute", n.Type, n.Path)
		}
		seen[n.Type] = true
	}
	if !seen[specs.MountNamespace] {
		return invalidf("no mount namespace: the mounts would be the host's")
	}
	return nil
}

func checkAnnotations(s *specs.Spec) error {
	if _, ok := s.Annotations[""]; ok {
		return invalidf("annotation without a name")
	}
	return nil
}
