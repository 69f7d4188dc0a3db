package spec

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestOptions has what each flag does to the spec, one a row.
func TestOptions(t *testing.T) {
	types := func(s *specs.Spec) any {
		var out []string
		for _, n := range s.Linux.Namespaces {
			out = append(out, strings.TrimSuffix(string(n.Type)+":"+n.Path, ":"))
		}
		return strings.Join(out, " ")
	}
	mount := func(dest string) func(*specs.Spec) any {
		return func(s *specs.Spec) any {
			for _, m := range s.Mounts {
				if m.Destination == dest {
					return m.Type + " " + m.Source + " " + strings.Join(m.Options, ",")
				}
			}
			return "none"
		}
	}
	env := func(s *specs.Spec) any { return strings.Join(s.Process.Env, " ") }
	masked := func(s *specs.Spec) any { return len(s.Linux.MaskedPaths) }
	paths := func(s *specs.Spec) any { return [2]int{len(s.Linux.MaskedPaths), len(s.Linux.ReadonlyPaths)} }
	devices := func(s *specs.Spec) any {
		var out []string
		for _, d := range s.Linux.Devices {
			out = append(out, d.Path)
		}
		return strings.Join(out, " ")
	}
	caps := func(s *specs.Spec) any { return len(s.Process.Capabilities.Bounding) }
	stop := func(s *specs.Spec) any { return s.Annotations[stopSignalAnnotation] }
	seccomp := func(s *specs.Spec) any { return s.Linux.Seccomp != nil }
	profile := func(caps []string) (*specs.LinuxSeccomp, error) {
		if !slices.Contains(caps, "CAP_CHOWN") {
			return nil, errors.New("no capabilities given")
		}
		return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}, nil
	}
	fuse := Device{specs.LinuxDevice{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}, "rwm"}
	disk := Device{specs.LinuxDevice{Path: "/dev/vda", Type: "b", Major: 254}, "rwm"}
	null := Device{specs.LinuxDevice{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, "rwm"}
	pts := Device{specs.LinuxDevice{Path: "/dev/pts/0", Type: "c", Major: 136}, "rwm"}
	const all = "pid mount ipc uts cgroup"

	for _, tt := range []struct {
		rule   string
		change func(*Image, *Options)
		get    func(*specs.Spec) any
		want   any
	}{
		{"namespaces", func(i *Image, o *Options) {}, types, all},
		{"private ones", func(i *Image, o *Options) {
			o.Namespaces = Namespaces{"private", "private", "private", "private", "host"}
		}, types, all},
		{"--pid host", func(i *Image, o *Options) { o.Namespaces.PID = "host" }, types, "mount ipc uts cgroup"},
		{"--ipc host", func(i *Image, o *Options) { o.Namespaces.IPC = "host" }, types, "pid mount uts cgroup"},
		{"--ipc host: /dev/shm", func(i *Image, o *Options) { o.Namespaces.IPC = "host" }, mount("/dev/shm"), "bind /dev/shm rbind,nosuid,noexec,nodev,rprivate"},
		{"--ipc host: the rest", func(i *Image, o *Options) { o.Namespaces.IPC = "host" }, mount("/dev/mqueue"), "mqueue mqueue nosuid,noexec,nodev"},
		{"--ipc none", func(i *Image, o *Options) { o.Namespaces.IPC = "none" }, types, all},
		{"--ipc none: /dev/shm", func(i *Image, o *Options) { o.Namespaces.IPC = "none" }, mount("/dev/shm"), "none"},
		{"--uts host", func(i *Image, o *Options) { o.Namespaces.UTS = "host" }, types, "pid mount ipc cgroup"},
		{"--uts host: name", func(i *Image, o *Options) { o.Namespaces.UTS, o.MachineName = "host", "machine" },
			func(s *specs.Spec) any { return s.Hostname + " " + s.Process.Env[1] }, " HOSTNAME=machine"},
		{"--cgroupns host", func(i *Image, o *Options) { o.Namespaces.Cgroup = "host" }, types, "pid mount ipc uts"},
		{"--network ns:", func(i *Image, o *Options) { o.Network = "ns:/run/netns/x" }, types, all + " network:/run/netns/x"},
		{"--domainname", func(i *Image, o *Options) { o.Domainname = "example.org" }, func(s *specs.Spec) any { return s.Domainname }, "example.org"},

		{"--env-host", func(i *Image, o *Options) {
			o.Environment = Environment{Host: []string{"A=1", "HOME=/me", "PATH=/p", "HOSTNAME=x", "=bad"}, PassAll: true}
			i.Env = []string{"A=2"}
		}, env, "PATH=/p A=2 HOME=/me HOSTNAME=3f4ff3ca0b1e container=umiak"},
		{"--http-proxy", func(i *Image, o *Options) {
			o.Environment = Environment{Host: []string{"A=1", "http_proxy=p", "HTTPS_PROXY=q", "No_Proxy=x", "no_proxy=y"}, PassProxy: true}
			i.Env = []string{"no_proxy=z"}
		}, env, "PATH=" + defaultPath + " http_proxy=p HTTPS_PROXY=q no_proxy=z HOSTNAME=3f4ff3ca0b1e container=umiak HOME=/root"},
		{"neither", func(i *Image, o *Options) { o.Environment.Host, i.Env = []string{"A=1", "http_proxy=p"}, nil },
			env, "PATH=" + defaultPath + " HOSTNAME=3f4ff3ca0b1e container=umiak HOME=/root"},
		{"--unsetenv", func(i *Image, o *Options) {
			i.Env, o.Env, o.Environment.Unset = []string{"A=1", "B=1"}, []string{"B=2"}, []string{"PATH", "A", "B", "HOME", "NOSUCH"}
		}, env, "HOSTNAME=3f4ff3ca0b1e container=umiak B=2"},
		{"--unsetenv-all", func(i *Image, o *Options) { o.Env, o.Environment.UnsetAll = []string{"B=2"}, true }, env, "B=2"},

		{"--dns", func(i *Image, o *Options) {
			o.DNS = DNS{[]string{"1.1.1.1", "::1"}, []string{"a_b.example.org", "."}, []string{"ndots:2", "no-tld-query"}}
		}, func(s *specs.Spec) any { return s != nil }, true},
		{"the bounds of limits", func(i *Image, o *Options) {
			o.Resources = Resources{MemoryReservation: new(int64(minMemory)), MemorySwappiness: new(int64(100)), BlkioWeight: 1000, BlkioWeightDevice: []Throttle{{8, 0, 1000}, {8, 16, 10}}}
		}, func(s *specs.Spec) any { return *s.Linux.Resources.Memory.Swappiness }, uint64(100)},

		{"--umask", func(i *Image, o *Options) { o.Umask = new(uint32(0o77)) }, func(s *specs.Spec) any { return *s.Process.User.Umask }, uint32(0o77)},
		{"no --umask", func(i *Image, o *Options) {}, func(s *specs.Spec) any { return s.Process.User.Umask == nil }, true},
		{"--oom-score-adj", func(i *Image, o *Options) { o.OOMScoreAdj = new(-500) }, func(s *specs.Spec) any { return *s.Process.OOMScoreAdj }, -500},
		{"--stop-signal", func(i *Image, o *Options) { i.StopSignal, o.StopSignal = "SIGQUIT", "INT" }, stop, "INT"},
		{"--sysctl", func(i *Image, o *Options) { o.Sysctls = map[string]string{"kernel.shmmax": "1"} }, func(s *specs.Spec) any { return s.Linux.Sysctl["kernel.shmmax"] }, "1"},
		{"--sysctl of a network", func(i *Image, o *Options) {
			o.Network, o.Sysctls = "none", map[string]string{"net.ipv4.ip_forward": "1"}
		},
			func(s *specs.Spec) any { return len(s.Linux.Sysctl) }, 1},
		{"--cgroup-parent", func(i *Image, o *Options) { o.CgroupParent = "/ci/job/" }, func(s *specs.Spec) any { return s.Linux.CgroupsPath }, "/ci/job/umiak-3f4ff3ca0b1e"},
		{"--cgroup-parent, relative", func(i *Image, o *Options) { o.CgroupParent = "ci.slice" }, func(s *specs.Spec) any { return s.Linux.CgroupsPath }, "ci.slice/umiak-3f4ff3ca0b1e"},
		{"no --cgroup-parent", func(i *Image, o *Options) {}, func(s *specs.Spec) any { return s.Linux.CgroupsPath }, ""},

		{"--read-only-tmpfs", func(i *Image, o *Options) { o.ReadOnly, o.ReadOnlyTmpfs = true, true }, mount("/run"), "tmpfs tmpfs rw,nosuid,nodev,rprivate,mode=755"},
		{"--read-only-tmpfs: /tmp", func(i *Image, o *Options) { o.ReadOnly, o.ReadOnlyTmpfs = true, true }, mount("/tmp"), "tmpfs tmpfs rw,nosuid,nodev,rprivate,mode=1777"},
		{"--read-only-tmpfs alone", func(i *Image, o *Options) { o.ReadOnlyTmpfs = true }, mount("/run"), "none"},
		{"--read-only alone", func(i *Image, o *Options) { o.ReadOnly = true }, mount("/tmp"), "none"},
		{"--read-only-tmpfs and the user's", func(i *Image, o *Options) {
			o.ReadOnly, o.ReadOnlyTmpfs, o.Volumes = true, true, []Mount{{Type: "bind", Source: "/x", HostPath: "/x", Target: "/run"}}
		}, mount("/run"), "bind /x rbind,rprivate"},
		{"--tz", func(i *Image, o *Options) { o.ZoneFile = "/state/zone" }, mount("/etc/localtime"), "bind /state/zone bind,ro,nosuid,noexec,nodev,rprivate"},
		{"a shared volume", func(i *Image, o *Options) {
			o.Volumes = []Mount{{Type: "bind", Source: "/x", HostPath: "/x", Target: "/x", Propagation: "rshared"}}
		}, func(s *specs.Spec) any { return s.Linux.RootfsPropagation }, "shared"},
		{"a slave volume", func(i *Image, o *Options) {
			o.Volumes = []Mount{{Type: "bind", Source: "/x", HostPath: "/x", Target: "/x", Propagation: "rslave"}}
		}, func(s *specs.Spec) any { return s.Linux.RootfsPropagation }, ""},

		{"masked paths", func(i *Image, o *Options) {}, paths, [2]int{len(maskedPaths), len(readonlyPaths)}},
		{"unmask", func(i *Image, o *Options) { o.Security.Unmask = []string{"/proc/acpi", "/proc/sys", "/nosuch"} }, paths, [2]int{len(maskedPaths) - 1, len(readonlyPaths) - 1}},
		{"unmask with a wildcard", func(i *Image, o *Options) { o.Security.Unmask = []string{"/proc/*"} }, paths, [2]int{2, 0}},
		{"unmask=ALL", func(i *Image, o *Options) { o.MaskedPaths, o.Security.Unmask = []string{"/sys/x"}, []string{"ALL"} }, paths, [2]int{0, 0}},
		{"mask", func(i *Image, o *Options) { o.Security.Mask = []string{"/proc/acpi", "/etc/shadow"} }, masked, len(maskedPaths) + 1},
		{"unmask=ALL and mask", func(i *Image, o *Options) { o.Security.Unmask, o.Security.Mask = []string{"ALL"}, []string{"/x"} }, masked, 1},
		{"writable-cgroups", func(i *Image, o *Options) { o.Security.WritableCgroups = true }, mount("/sys/fs/cgroup"), "cgroup cgroup nosuid,noexec,nodev,relatime"},
		{"unmask of cgroups", func(i *Image, o *Options) { o.Security.Unmask = []string{"/sys/fs/cgroup"} }, mount("/sys/fs/cgroup"), "cgroup cgroup nosuid,noexec,nodev,relatime"},
		{"no-new-privileges", func(i *Image, o *Options) { o.Security.NoNewPrivileges = true }, func(s *specs.Spec) any { return s.Process.NoNewPrivileges }, true},

		{"seccomp: no profile given", func(i *Image, o *Options) {}, seccomp, false},
		{"seccomp: default", func(i *Image, o *Options) { o.Seccomp = profile }, seccomp, true},
		{"seccomp: unconfined", func(i *Image, o *Options) { o.Seccomp, o.Security.Seccomp = profile, "unconfined" }, seccomp, false},
		{"seccomp: privileged", func(i *Image, o *Options) { o.Seccomp, o.Privileged = profile, true }, seccomp, false},
		{"seccomp: privileged with a profile", func(i *Image, o *Options) { o.Seccomp, o.Privileged, o.Security.Seccomp = profile, true, "x.json" }, seccomp, true},

		{"--device", func(i *Image, o *Options) { o.Devices, o.HostDevices = []Device{fuse}, []Device{disk} }, devices, "/dev/fuse"},
		{"--device: rules", func(i *Image, o *Options) { o.Devices = []Device{fuse} },
			func(s *specs.Spec) any { return s.Linux.Resources.Devices }, []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Major: new(int64(10)), Minor: new(int64(229)), Access: "rwm"}}},
		{"no device: no rules", func(i *Image, o *Options) { o.HostDevices = []Device{disk} }, func(s *specs.Spec) any { return s.Linux.Resources == nil }, true},
		{"--privileged: devices", func(i *Image, o *Options) { o.Privileged, o.HostDevices = true, []Device{disk, null, pts, fuse} }, devices, "/dev/vda /dev/fuse"},
		{"--privileged: device elsewhere", func(i *Image, o *Options) {
			o.Privileged, o.HostDevices, o.Devices = true, []Device{disk, fuse}, []Device{{specs.LinuxDevice{Path: "/dev/fuse", Type: "b", Major: 254}, "rw"}}
		}, devices, "/dev/fuse /dev/vda"},
		{"--privileged: rules", func(i *Image, o *Options) { o.Privileged = true },
			func(s *specs.Spec) any { return s.Linux.Resources.Devices }, []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}},
		{"--privileged: capabilities", func(i *Image, o *Options) { o.Privileged = true }, caps, len(capabilities)},
		{"--privileged --cap-drop", func(i *Image, o *Options) { o.Privileged, o.CapDrop = true, []string{"SYS_BOOT"} }, caps, len(capabilities) - 1},
		{"--privileged: paths", func(i *Image, o *Options) { o.Privileged, o.MaskedPaths = true, []string{"/sys/x"} }, paths, [2]int{0, 0}},
		{"--privileged: mask", func(i *Image, o *Options) { o.Privileged, o.Security.Mask = true, []string{"/x"} }, masked, 1},
		{"--privileged: /sys", func(i *Image, o *Options) { o.Privileged = true }, mount("/sys"), "sysfs sysfs nosuid,noexec,nodev"},
		{"--privileged: cgroups", func(i *Image, o *Options) { o.Privileged = true }, mount("/sys/fs/cgroup"), "cgroup cgroup nosuid,noexec,nodev,relatime"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			img, files, o := alpine()
			tt.change(&img, &o)
			if got := tt.get(mustNew(t, img, files, o)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestOptionsRefused(t *testing.T) {
	fuse := Device{specs.LinuxDevice{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}, "rwm"}
	device := func(change func(*Device)) []Device { d := fuse; change(&d); return []Device{d} }
	bind := Mount{Type: "bind", Source: "/x", HostPath: "/x", Target: "/v"}
	for _, tt := range []struct {
		name   string
		change func(*Image, *Options)
		text   string
	}{
		{"pid", func(i *Image, o *Options) { o.Namespaces.PID = "hots" }, `PID mode "hots": want host or private`},
		{"pid of a container", func(i *Image, o *Options) { o.Namespaces.PID = "container:x" }, "no other containers"},
		{"pid none", func(i *Image, o *Options) { o.Namespaces.PID = "none" }, "want host or private"},
		{"ipc shareable", func(i *Image, o *Options) { o.Namespaces.IPC = "shareable" }, "shareable is not supported"},
		{"uts shareable", func(i *Image, o *Options) { o.Namespaces.UTS = "shareable" }, "want host or private"},
		{"userns", func(i *Image, o *Options) { o.Namespaces.User = "keep-id" }, `"keep-id" is not supported`},
		{"network of a container", func(i *Image, o *Options) { o.Network = "container:x" }, "want host or none"},
		{"network path", func(i *Image, o *Options) { o.Network = "ns:netns" }, "ns: and the path"},
		{"hostname of the host", func(i *Image, o *Options) { o.Namespaces.UTS, o.Hostname = "host", "x" }, "it would be the host's"},
		{"domain of the host", func(i *Image, o *Options) { o.Namespaces.UTS, o.Domainname = "host", "x" }, "it would be the host's"},
		{"domain", func(i *Image, o *Options) { o.Domainname = "a b" }, "domain name"},
		{"shm of the host", func(i *Image, o *Options) { o.Namespaces.IPC, o.ShmSize = "host", 1 }, "none to size"},
		{"no shm", func(i *Image, o *Options) { o.Namespaces.IPC, o.ShmSize = "none", 1 }, "none to size"},
		{"unset", func(i *Image, o *Options) { o.Environment.Unset = []string{"A=1"} }, "want a name"},
		{"umask", func(i *Image, o *Options) { o.Umask = new(uint32(0o1000)) }, "umask"},
		{"OOM score", func(i *Image, o *Options) { o.OOMScoreAdj = new(1001) }, "-1000..1000"},
		{"stop signal", func(i *Image, o *Options) { o.StopSignal = "FOO" }, "as in SIGTERM"},
		{"DNS server", func(i *Image, o *Options) { o.DNS.Servers = []string{"ns.example.org"} }, "want an IP address"},
		{"DNS server with a line", func(i *Image, o *Options) { o.DNS.Servers = []string{"fe80::1%x\nnameserver 6.6.6.6"} }, "want an IP address"},
		{"DNS search", func(i *Image, o *Options) { o.DNS.Search = []string{"a\nb"} }, "DNS search"},
		{"DNS option", func(i *Image, o *Options) { o.DNS.Options = []string{"a b"} }, "DNS option"},
		{"empty DNS option", func(i *Image, o *Options) { o.DNS.Options = []string{""} }, "DNS option"},

		{"sysctl of the host's network", func(i *Image, o *Options) { o.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"} }, "it would be set for the host, whose network"},
		{"sysctl of the host's IPC", func(i *Image, o *Options) {
			o.Namespaces.IPC, o.Sysctls = "host", map[string]string{"kernel.shmmax": "1"}
		}, "it would be set for the host, whose ipc"},
		{"sysctl of the host's UTS", func(i *Image, o *Options) {
			o.Namespaces.UTS, o.Sysctls = "host", map[string]string{"kernel.domainname": "x"}
		}, "it would be set for the host, whose uts"},
		{"sysctl of the host", func(i *Image, o *Options) { o.Sysctls = map[string]string{"vm.panic_on_oom": "1"} }, "it is the host's"},
		{"cgroup parent", func(i *Image, o *Options) { o.CgroupParent = "/a/../.." }, "without .."},
		{"unmask", func(i *Image, o *Options) { o.Security.Unmask = []string{"/["} }, "to unmask"},
		{"mask", func(i *Image, o *Options) { o.Security.Mask = []string{"x"} }, "want an absolute path"},
		{"seccomp file without a reader", func(i *Image, o *Options) { o.Security.Seccomp = "x.json" }, "nothing to read it with"},

		{"device twice", func(i *Image, o *Options) { o.Devices = []Device{fuse, fuse} }, "given twice"},
		{"device to read", func(i *Image, o *Options) { o.Devices = device(func(d *Device) { d.Access = "r" }) }, `access "r" is not supported`},
		{"device access", func(i *Image, o *Options) { o.Devices = device(func(d *Device) { d.Access = "" }) }, "want some of r, w and m"},
		{"device path", func(i *Image, o *Options) { o.Devices = device(func(d *Device) { d.Path = "dev" }) }, "absolute"},
		{"device type", func(i *Image, o *Options) { o.Devices = device(func(d *Device) { d.Type = "d" }) }, "want c, b or p"},
		{"device number", func(i *Image, o *Options) { o.Devices = device(func(d *Device) { d.Minor = 1 << 20 }) }, "not a device number"},

		{"volume without a path", func(i *Image, o *Options) { o.Volumes = []Mount{{Type: "volume", Target: "/v"}} }, "no absolute path"},
		{"volume with a relative one", func(i *Image, o *Options) {
			o.Volumes = []Mount{{Type: "bind", Source: "./x", HostPath: "./x", Target: "/v"}}
		}, "no absolute path"},
		{"volume twice", func(i *Image, o *Options) { o.Volumes = []Mount{bind, {Type: "tmpfs", Target: "/v/"}} }, "given twice"},
		{"volume of no type", func(i *Image, o *Options) { o.Volumes = []Mount{{Target: "/v"}} }, "want bind, volume or tmpfs"},
		{"volume over the root", func(i *Image, o *Options) { o.Volumes = []Mount{{Type: "tmpfs", Target: "/"}} }, "hide the root"},
		{"tmpfs option", func(i *Image, o *Options) { o.Volumes = []Mount{{Type: "tmpfs", Target: "/v", Options: []string{"x"}}} }, "unknown"},

		{"swappiness", func(i *Image, o *Options) { o.Resources.MemorySwappiness = new(int64(101)) }, "0..100"},
		{"swappiness of v2", func(i *Image, o *Options) { o.Resources.MemorySwappiness, o.Resources.OnlyV2 = new(int64(1)), true }, "version 2"},
		{"OOM killer of v2", func(i *Image, o *Options) { o.Resources.OOMKillDisable, o.Resources.OnlyV2 = true, true }, "version 2"},
		{"OOM killer without a limit", func(i *Image, o *Options) { o.Resources.OOMKillDisable = true }, "without a memory limit"},
		{"light", func(i *Image, o *Options) { o.Resources.BlkioWeight = 9 }, "10..1000"},
		{"heavy", func(i *Image, o *Options) { o.Resources.BlkioWeight = 1001 }, "10..1000"},
		{"heavy device", func(i *Image, o *Options) { o.Resources.BlkioWeightDevice = []Throttle{{8, 0, 1001}} }, "10..1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, files, o := alpine()
			tt.change(&img, &o)
			s, err := New(img, files, o)
			if s != nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v, %v; want an ErrInvalid with %q", s, err, tt.text)
			}
		})
	}
	img, files, o := alpine()
	broken := errors.New("broken profile")
	o.Seccomp = func([]string) (*specs.LinuxSeccomp, error) { return nil, broken }
	if s, err := New(img, files, o); s != nil || !errors.Is(err, broken) {
		t.Errorf("seccomp: %v, %v", s, err)
	}
}

func TestMoreResources(t *testing.T) {
	img, files, o := alpine()
	o.Resources = Resources{
		Memory: new(int64(100 << 20)), MemorySwappiness: new(int64(0)), OOMKillDisable: true,
		BlkioWeight: 500, BlkioWeightDevice: []Throttle{{8, 16, 10}},
	}
	r := mustNew(t, img, files, o).Linux.Resources
	if *r.Memory.Swappiness != 0 || !*r.Memory.DisableOOMKiller || *r.BlockIO.Weight != 500 {
		t.Errorf("%+v, %+v", r.Memory, r.BlockIO)
	}
	if d := r.BlockIO.WeightDevice[0]; *d.Weight != 10 || d.Major != 8 || d.Minor != 16 {
		t.Errorf("device %+v", d)
	}
	o.Resources = Resources{MemorySwappiness: new(int64(-1))}
	if r := mustNew(t, img, files, o).Linux.Resources; r != nil {
		t.Errorf("the system's swappiness: %+v", r)
	}
	o.Resources = Resources{MemorySwappiness: new(int64(60))}
	if r := mustNew(t, img, files, o).Linux.Resources; *r.Memory.Swappiness != 60 || r.Memory.Swap != nil {
		t.Errorf("swappiness alone: %+v", r)
	}
}
