package spec

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestValidate breaks a good spec in one place at a time; the ways which New
// itself can be made to take are in TestRefusals.
func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		text string // "" = still valid
		harm func(*specs.Spec)
	}{
		{"", func(s *specs.Spec) {}},
		{"without process", func(s *specs.Spec) { s.Process = nil }},
		{"without process", func(s *specs.Spec) { s.Root = nil }},
		{"without process", func(s *specs.Spec) { s.Linux = nil }},
		{"absolute", func(s *specs.Spec) { s.Root.Path = "" }},
		{"", func(s *specs.Spec) { s.Hostname = "" }},
		{"UTS", func(s *specs.Spec) { dropNamespace(s, specs.UTSNamespace) }},
		{"no mount namespace", func(s *specs.Spec) { dropNamespace(s, specs.MountNamespace) }},
		{"", func(s *specs.Spec) { dropNamespace(s, specs.PIDNamespace) }},
		{"twice", func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) }},
		{"unknown", func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "moon" }},
		{"not absolute", func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "x" }},
		{"", func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "/proc/1/ns/pid" }},
		{"", func(s *specs.Spec) { s.Domainname = "example.org" }},
		{"domain name", func(s *specs.Spec) { s.Domainname = "a b" }},
		{"UTS", func(s *specs.Spec) {
			s.Hostname, s.Domainname = "", "example.org"
			dropNamespace(s, specs.UTSNamespace)
		}},
		{"", func(s *specs.Spec) { addDevice(s, 0, 0) }},
		{"", func(s *specs.Spec) { addDevice(s, 1<<12-1, 1<<20-1) }},
		{"device number", func(s *specs.Spec) { addDevice(s, 1<<12, 0) }},
		{"device number", func(s *specs.Spec) { addDevice(s, 0, 1<<20) }},
		{"device number", func(s *specs.Spec) { addDevice(s, -1, 0) }},
		{"device number", func(s *specs.Spec) { addDevice(s, 0, -1) }},
		{"", func(s *specs.Spec) { s.Linux.CgroupsPath = "/a/b" }},
		{"cgroup path", func(s *specs.Spec) { s.Linux.CgroupsPath = "/a/../b" }},
		{"cgroup path", func(s *specs.Spec) { s.Linux.CgroupsPath = "/a\x00" }},
		{"no command", func(s *specs.Spec) { s.Process.Args = nil }},
		{"NAME=VALUE", func(s *specs.Spec) { s.Process.Env = []string{"A"} }},
		{"NAME=VALUE", func(s *specs.Spec) { s.Process.Env = []string{"=A"} }},
		{"working directory", func(s *specs.Spec) { s.Process.Cwd = "" }},
		{"0..4294967294", func(s *specs.Spec) { s.Process.User.UID = 1<<32 - 1 }},
		{"0..4294967294", func(s *specs.Spec) { s.Process.User.GID = 1<<32 - 1 }},
		{"0..4294967294", func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{1, 1<<32 - 1} }},
		{"the kernel allows", func(s *specs.Spec) { s.Process.User.AdditionalGids = make([]uint32, maxGroups+1) }},
		{"", func(s *specs.Spec) { s.Process.Capabilities = nil }},
		{"unknown", func(s *specs.Spec) { s.Process.Capabilities.Bounding = []string{"KILL"} }},
		{"not permitted", func(s *specs.Spec) { s.Process.Capabilities.Permitted = nil }},
		{"ambient", func(s *specs.Spec) { s.Process.Capabilities.Ambient = []string{"CAP_KILL"} }},
		{"", func(s *specs.Spec) {
			s.Process.Capabilities.Inheritable, s.Process.Capabilities.Ambient = []string{"CAP_KILL"}, []string{"CAP_KILL"}
		}},
		{"absolute", func(s *specs.Spec) { s.Mounts[0].Destination = "proc" }},
		{"no type", func(s *specs.Spec) { s.Mounts[0].Type = "" }},
		{"nothing to bind", func(s *specs.Spec) { s.Mounts[0] = specs.Mount{Destination: "/x", Options: []string{"rbind"}} }},
		{"", func(s *specs.Spec) {
			s.Mounts[0] = specs.Mount{Destination: "/x", Source: "/y", Options: []string{"bind"}}
		}},
		{"NUL", func(s *specs.Spec) { s.Mounts[0].Options = []string{"ro\x00"} }},
		{"masked", func(s *specs.Spec) { s.Linux.MaskedPaths = []string{""} }},
		{"read-only", func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"x"} }},
		{"annotation", func(s *specs.Spec) { s.Annotations = map[string]string{"": ""} }},
		{"", func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(-1))}}
		}},
		{"negative", func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(-2))}}
		}},
		{"set both", func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: new(int64(1))}}
		}},
		{"", func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(-1))}}
		}},
		{"CPU quota", func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(1 << 44))}}
		}},
		{"processes", func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(-2))}}
		}},
	} {
		img, files, o := alpine()
		s := mustNew(t, img, files, o)
		tt.harm(s)
		err := Validate(s)
		switch {
		case tt.text == "" && err != nil:
			t.Errorf("refused: %v", err)
		case tt.text != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.text)):
			t.Errorf("got %v, want an error with %q", err, tt.text)
		}
	}
	if err := Validate(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("no spec at all: %v", err)
	}
}

func addDevice(s *specs.Spec, major, minor int64) {
	s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: "/dev/x", Type: "b", Major: major, Minor: minor})
}

func dropNamespace(s *specs.Spec, t specs.LinuxNamespaceType) {
	var kept []specs.LinuxNamespace
	for _, n := range s.Linux.Namespaces {
		if n.Type != t {
			kept = append(kept, n)
		}
	}
	s.Linux.Namespaces = kept
}
