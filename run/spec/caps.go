package spec

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// capabilities has each at its number in linux/capability.h. The last three
// came with Linux 5.8 and 5.9; who sets them leaves out those above
// /proc/sys/kernel/cap_last_cap, as runc does.
var capabilities = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
	"CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

// defaultCapabilities are docker's fourteen without CAP_MKNOD. docker can give
// it away because its device cgroup makes a node of a host disk useless; umiak
// has no device cgroup, mounts the root nodev instead, and with both a nodev
// root and no CAP_MKNOD one mistake is not enough. podman drops it too.
var defaultCapabilities = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_NET_RAW",
	"CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
	"CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// allCapabilities is the word that stands for each of them.
const allCapabilities = "ALL"

// capSet has bit n for capability n.
type capSet uint64

// newCapabilities gives root the set in full, and another user its bound only:
// as docker does, such a user can gain them by a set-user-id program. The
// inheritable and ambient sets stay empty, else every program which carries
// file capabilities would gain some (CVE-2022-24769).
func newCapabilities(o Options, root bool) (*specs.LinuxCapabilities, error) {
	add := o.CapAdd
	if o.Privileged {
		// Unlike docker, which forgets --cap-drop then: it is not accepted
		// and ignored here.
		add = append([]string{allCapabilities}, add...)
	}
	set, err := tweak(add, o.CapDrop)
	if err != nil {
		return nil, err
	}
	if o.Bounding != 0 {
		if set, err = bound(set, o); err != nil {
			return nil, err
		}
	}
	out := &specs.LinuxCapabilities{Bounding: set.names()}
	if root {
		out.Effective, out.Permitted = set.names(), set.names()
	}
	return out, nil
}

// bound takes away what the caller can't give. Who says ALL means all there
// are; who names one wants that one.
func bound(set capSet, o Options) (capSet, error) {
	named, _, err := parseCaps("add", o.CapAdd)
	if lacking := (named &^ capSet(o.Bounding)).names(); len(lacking) > 0 {
		return 0, invalidf("capability %s to add: umiak does not have it here itself", lacking[0])
	}
	return set & capSet(o.Bounding), err
}

// tweak applies add and drop to the default set. ALL in one makes the other a
// list of exceptions. What is in both is refused: which of two contradicting
// words about privilege was meant can't be known.
func tweak(add, drop []string) (capSet, error) {
	adds, addAll, err := parseCaps("add", add)
	if err != nil {
		return 0, err
	}
	drops, dropAll, err := parseCaps("drop", drop)
	if err != nil {
		return 0, err
	}
	if addAll && dropAll {
		return 0, invalidf("capability ALL: both added and dropped")
	}
	if both := (adds & drops).names(); len(both) > 0 {
		return 0, invalidf("capability %s: both added and dropped", both[0])
	}
	base, _, err := parseCaps("default", defaultCapabilities[:])
	switch {
	case addAll:
		base = capSet(1)<<len(capabilities) - 1
	case dropAll:
		base = 0
	}
	return base&^drops | adds, err
}

func parseCaps(verb string, names []string) (set capSet, everything bool, err error) {
	for _, name := range names {
		upper := strings.ToUpper(name)
		if upper == allCapabilities {
			everything = true
			continue
		}
		n := slices.Index(capabilities[:], "CAP_"+strings.TrimPrefix(upper, "CAP_"))
		if n < 0 {
			return 0, false, invalidf("capability %q to %s: unknown; want a name as in NET_ADMIN or CAP_NET_ADMIN, or ALL", name, verb)
		}
		set |= 1 << n
	}
	return set, everything, nil
}

// names lists the set in the kernel's order.
func (s capSet) names() []string {
	var out []string
	for n, name := range capabilities {
		if s&(1<<n) != 0 {
			out = append(out, name)
		}
	}
	return out
}
