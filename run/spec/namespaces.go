package spec

import (
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The words of --pid, --ipc, --uts, --cgroupns, --userns and --network.
const (
	modeHost    = "host"
	modePrivate = "private"
	modeNone    = "none"
)

// Namespaces says what is shared with the host: "host" shares, "" and
// "private" do not. IPC may be "none" too: a private one without /dev/shm.
// User may only be "host", which is how it is.
type Namespaces struct {
	PID, IPC, UTS, Cgroup, User string
}

// list gives the new namespaces. A cgroup namespace, with the read-only mount
// of /sys/fs/cgroup, keeps the host's groups out of reach (CVE-2023-25809).
func (n Namespaces) list(network string) ([]specs.LinuxNamespace, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	var out []specs.LinuxNamespace
	for _, x := range []struct {
		typ  specs.LinuxNamespaceType
		mode string
	}{
		{specs.PIDNamespace, n.PID}, {specs.MountNamespace, ""}, {specs.IPCNamespace, n.IPC},
		{specs.UTSNamespace, n.UTS}, {specs.CgroupNamespace, n.Cgroup},
	} {
		if x.mode != modeHost {
			out = append(out, specs.LinuxNamespace{Type: x.typ})
		}
	}
	return addNetwork(out, network)
}

func (n Namespaces) check() error {
	for _, x := range []struct{ name, mode, also string }{
		{"PID", n.PID, ""}, {"IPC", n.IPC, modeNone}, {"UTS", n.UTS, ""}, {"cgroup", n.Cgroup, ""},
	} {
		switch {
		case x.mode == "", x.mode == modePrivate, x.mode == modeHost, x.mode == x.also:
		case strings.HasPrefix(x.mode, "container:"), strings.HasPrefix(x.mode, "pod:"):
			return invalidf("%s mode %q is not supported: umiak knows of no other containers; want host or private", x.name, x.mode)
		case x.name == "IPC" && x.mode == "shareable":
			return invalidf("IPC mode shareable is not supported: no other container could share it; want private")
		default:
			return invalidf("%s mode %q: want host or private", x.name, x.mode)
		}
	}
	if n.User != "" && n.User != modeHost {
		return invalidf("user namespace mode %q is not supported: the ids inside are the host's; want host", n.User)
	}
	return nil
}

func addNetwork(list []specs.LinuxNamespace, network string) ([]specs.LinuxNamespace, error) {
	joined, isPath := strings.CutPrefix(network, "ns:")
	switch {
	case network == "", network == modeHost:
		return list, nil
	case network == modeNone:
		return append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace}), nil
	case isPath && path.IsAbs(joined):
		return append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: joined}), nil
	}
	return nil, invalidf("network %q: want host or none, or ns: and the path of a network namespace, as in ns:/run/netns/ci", network)
}
