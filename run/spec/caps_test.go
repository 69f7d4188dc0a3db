package spec

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestCapabilities(t *testing.T) {
	set := func(names ...string) string {
		var out []string
		for _, name := range capabilities { // the kernel's order
			if slices.Contains(names, name) {
				out = append(out, name)
			}
		}
		return strings.Join(out, " ")
	}
	without := func(drop string) string {
		return set(slices.DeleteFunc(slices.Clone(defaultCapabilities[:]), func(s string) bool { return s == drop })...)
	}
	all := slices.Clone(capabilities[:])
	for _, tt := range []struct {
		add, drop []string
		want      string
	}{
		{nil, nil, set(defaultCapabilities[:]...)},
		{[]string{"NET_ADMIN"}, nil, set(append(defaultCapabilities[:], "CAP_NET_ADMIN")...)},
		{[]string{"cap_net_admin", "NET_ADMIN", "kill"}, nil, set(append(defaultCapabilities[:], "CAP_NET_ADMIN")...)},
		{nil, []string{"CAP_KILL"}, without("CAP_KILL")},
		{nil, []string{"SYS_ADMIN"}, set(defaultCapabilities[:]...)},
		{nil, []string{"ALL"}, ""},
		{[]string{"mknod"}, []string{"all"}, set("CAP_MKNOD")},
		{[]string{"ALL"}, nil, set(all...)},
		{[]string{"ALL"}, []string{"sys_admin"}, set(slices.DeleteFunc(all, func(s string) bool { return s == "CAP_SYS_ADMIN" })...)},
	} {
		img, files, o := alpine()
		o.CapAdd, o.CapDrop = tt.add, tt.drop
		c := mustNew(t, img, files, o).Process.Capabilities
		for kind, list := range map[string][]string{"bounding": c.Bounding, "effective": c.Effective, "permitted": c.Permitted} {
			if got := strings.Join(list, " "); got != tt.want {
				t.Errorf("add %v drop %v: %s\n got %s\nwant %s", tt.add, tt.drop, kind, got, tt.want)
			}
		}
		o.User = "bin"
		c = mustNew(t, img, files, o).Process.Capabilities
		if strings.Join(c.Bounding, " ") != tt.want || c.Effective != nil || c.Permitted != nil {
			t.Errorf("add %v drop %v: another user than root has %+v", tt.add, tt.drop, c)
		}
		if c.Inheritable != nil || c.Ambient != nil {
			t.Errorf("add %v drop %v: CVE-2022-24769: %+v", tt.add, tt.drop, c)
		}
	}
}

func TestCapabilitiesBound(t *testing.T) {
	const chownKill = 1<<0 | 1<<5
	for _, tt := range []struct {
		bounding uint64
		change   func(*Options)
		want     string
	}{
		{0, func(o *Options) { o.CapDrop, o.CapAdd = []string{"ALL"}, []string{"SYS_BOOT"} }, "CAP_SYS_BOOT"},
		{chownKill, func(o *Options) {}, "CAP_CHOWN CAP_KILL"},
		{chownKill, func(o *Options) { o.CapDrop = []string{"KILL"} }, "CAP_CHOWN"},
		{chownKill, func(o *Options) { o.CapAdd = []string{"ALL"} }, "CAP_CHOWN CAP_KILL"},
		{chownKill | 1<<22, func(o *Options) { o.Privileged = true }, "CAP_CHOWN CAP_KILL CAP_SYS_BOOT"},
		{chownKill | 1<<22, func(o *Options) { o.CapAdd = []string{"SYS_BOOT"} }, "CAP_CHOWN CAP_KILL CAP_SYS_BOOT"},
	} {
		img, files, o := alpine()
		o.Bounding = tt.bounding
		tt.change(&o)
		c := mustNew(t, img, files, o).Process.Capabilities
		if got := strings.Join(c.Bounding, " "); got != tt.want || strings.Join(c.Effective, " ") != tt.want {
			t.Errorf("bounding %x: %s, want %s", tt.bounding, got, tt.want)
		}
	}
	img, files, o := alpine()
	o.Bounding, o.CapAdd = chownKill, []string{"SYS_BOOT"}
	if _, err := New(img, files, o); err == nil || !strings.Contains(err.Error(), "CAP_SYS_BOOT to add: umiak does not have it") {
		t.Errorf("got %v", err)
	}
}

func TestCapabilitiesRefused(t *testing.T) {
	for _, tt := range []struct {
		add, drop []string
		text      string
	}{
		{[]string{"ALL"}, []string{"all"}, "both added and dropped"},
		{[]string{"KILL"}, []string{"cap_kill"}, "CAP_KILL: both"},
		{[]string{""}, nil, "unknown"},
		{[]string{"CAP_ALL"}, nil, "unknown"},
		{nil, []string{"CAP_CAP_KILL"}, `"CAP_CAP_KILL" to drop: unknown`},
	} {
		if _, err := tweak(tt.add, tt.drop); err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("add %v drop %v: %v, want an error with %q", tt.add, tt.drop, err, tt.text)
		}
	}
}

// TestDefaultCapabilities: docker's fourteen less CAP_MKNOD, by the mask that
// /proc/self/status shows in a docker container: 00000000a80425fb.
func TestDefaultCapabilities(t *testing.T) {
	set, err := tweak(nil, nil)
	if want := capSet(0xa80425fb &^ (1 << 27)); err != nil || set != want {
		t.Errorf("default set %x, %v; want %x", uint64(set), err, uint64(want))
	}
}

func TestCapabilityNumbers(t *testing.T) {
	f, err := os.Open("/usr/include/linux/capability.h")
	if err != nil {
		t.Skip("needs the kernel's headers: ", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var name string
		var n int
		if c, err := fmt.Sscanf(lines.Text(), "#define %s %d", &name, &n); c != 2 || err != nil || !strings.HasPrefix(name, "CAP_") {
			continue
		}
		if n >= len(capabilities) || capabilities[n] != name {
			t.Errorf("%s is %d for the kernel", name, n)
		}
	}
}
