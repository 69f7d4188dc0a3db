package cgroup

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const (
	hybridMounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	hybridSelf = "9:name=systemd:/s\n4:memory:/m/x\n3:cpuset:/\n1:cpu,cpuacct:/user.slice\n0::/u\n"
	v2Mounts   = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	v2Self     = "0::/user.slice/user-0.slice/session-1.scope\n"
	// docker on v1 without a cgroup namespace: the mounts show the container's part.
	dockerMounts = `60 50 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory
61 50 0:33 /docker/abc /sys/fs/cgroup/with\040blank\134 ro,nosuid - cgroup cgroup rw,pids
`
	dockerSelf = "4:memory:/docker/abc\n5:pids:/docker/abcdef\n"
)

func TestParseHost(t *testing.T) {
	for _, x := range []struct {
		name, mounts, self string
		v1                 map[string]string // controller → parent of a group
		v2                 []string          // parents of a group, in order
	}{
		{"hybrid", hybridMounts, hybridSelf, map[string]string{
			"cpu": "/sys/fs/cgroup/cpu,cpuacct/user.slice", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/user.slice",
			"cpuset": "/sys/fs/cgroup/cpuset", "memory": "/sys/fs/cgroup/memory/m/x",
		}, []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/u"}},
		{"v2", v2Mounts, v2Self, nil, []string{
			"/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/user-0.slice", "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope"}},
		{"v2 root", v2Mounts, "0::/\n", nil, []string{"/sys/fs/cgroup"}},
		{"docker", dockerMounts, dockerSelf, map[string]string{"memory": "/sys/fs/cgroup/memory", "pids": ""}, nil},
		{"second mount shows more", strings.Replace(dockerMounts, "\n", "\n70 50 0:32 / /cg rw - cgroup cgroup rw,memory\n", 1), "4:memory:/other\n",
			map[string]string{"memory": "/cg/other"}, nil},
		{"mount from outside the namespace", "30 23 0:26 /../.. /cg rw - cgroup2 cgroup2 rw\n", "0::/\n", nil, []string{"/cg"}},
		{"nothing", "1 1 0:1 / / rw - ext4 /dev/sda rw\nrubbish\n - \n", "", nil, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			h := parseHost([]byte(x.mounts), []byte(x.self))
			if len(h.v1) != len(x.v1) {
				t.Errorf("%d controllers on v1, want %d", len(h.v1), len(x.v1))
			}
			for c, want := range x.v1 {
				if m := h.v1[c]; m == nil || strings.Join(m.parents(), " ") != want {
					t.Errorf("%s: %+v, want %q", c, m, want)
				}
			}
			if x.v2 == nil != (h.v2 == nil) || h.v2 != nil && !slices.Equal(h.v2.parents(), x.v2) {
				t.Errorf("v2: %+v, want %q", h.v2, x.v2)
			}
		})
	}
	if m := parseHost([]byte(dockerMounts), []byte(dockerSelf)).v1["pids"]; m.mount != `/sys/fs/cgroup/with blank\` {
		t.Errorf("escaped mount point read as %q", m.mount)
	}
}

// TestAssign: each limit goes to the hierarchy that has its controller.
func TestAssign(t *testing.T) {
	ask := memory(1<<20, 1<<20)
	ask.CPU, ask.Pids = cpu(2000, 0).CPU, pids(5).Pids
	for _, x := range []struct {
		name, mounts, self, want string
	}{
		{"v2", v2Mounts, v2Self, "2: memory memory cpu pids"},
		{"mixed", hybridMounts, hybridSelf, "1: memory memory; 1: cpu; 2: pids"},
		{"with a freezer", hybridMounts + "9 1 0:9 / /fr rw - cgroup c rw,freezer\n", hybridSelf + "5:freezer:/\n", "1: memory memory; 1: cpu; 1:; 2: pids"},
	} {
		t.Run(x.name, func(t *testing.T) {
			w, err := parse(ask)
			if err != nil {
				t.Fatal(err)
			}
			jobs, err := parseHost([]byte(x.mounts), []byte(x.self)).assign(w)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(jobs); got != x.want {
				t.Errorf("%s, want %s", got, x.want)
			}
		})
	}
	w, _ := parse(ask)
	_, err := parseHost([]byte(dockerMounts), []byte(dockerSelf)).assign(w)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), cpuQuota) {
		t.Errorf("no hierarchy for cpu: %v", err)
	}
	for name, mounts := range map[string]string{"": hybridMounts, "2:": v2Mounts} {
		jobs, err := parseHost([]byte(mounts), []byte(hybridSelf)).assign(&wanted{})
		if got := describe(jobs); err != nil || got != name {
			t.Errorf("without limits: %q, error %v, want %q", got, err, name)
		}
	}
}

func describe(jobs []job) string {
	var parts []string
	for _, j := range jobs {
		var p strings.Builder
		p.WriteString(string(rune('0'+j.hierarchy.version)) + ":")
		for _, s := range j.settings {
			p.WriteString(" " + s.controller)
		}
		parts = append(parts, p.String())
	}
	return strings.Join(parts, "; ")
}

func FuzzParseHost(f *testing.F) {
	f.Add(hybridMounts, hybridSelf)
	f.Add(v2Mounts, v2Self)
	f.Add(dockerMounts, dockerSelf)
	f.Fuzz(func(t *testing.T, mounts, self string) {
		h := parseHost([]byte(mounts), []byte(self))
		for _, p := range h.paths("umiak-x") {
			if !strings.HasSuffix(p, "umiak-x") {
				t.Errorf("path %q", p)
			}
		}
	})
}
