package spec

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// dockerCLI is docker's command with a daemon of ours, which only notes what it
// is asked to create: what the command refuses, and how it reads the rest, is
// docker's rule without anything of docker's having to run.
type dockerCLI struct {
	binary, socket string
	asked          chan map[string]any
}

func newDockerCLI(t *testing.T) *dockerCLI {
	binary, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("needs docker's command")
	}
	d := &dockerCLI{binary: binary, socket: filepath.Join(t.TempDir(), "s"), asked: make(chan map[string]any, 1)}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: d.socket})
	}
	if err == nil {
		err = syscall.Listen(fd, 8)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Shutdown(fd, syscall.SHUT_RDWR); syscall.Close(fd) })
	go func() {
		for {
			conn, _, err := syscall.Accept(fd)
			if err != nil {
				return
			}
			go d.serve(os.NewFile(uintptr(conn), "docker"))
		}
	}()
	return d
}

// serve speaks just enough HTTP. With net/http, or net alone, the test's binary
// would be a dynamic one, which the probe of the runtimes can't be.
func (d *dockerCLI) serve(conn *os.File) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		request, err := in.ReadString('\n')
		if err != nil {
			return
		}
		length := 0
		for {
			header, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if header == "\r\n" {
				break
			}
			fmt.Sscanf(header, "Content-Length: %d", &length)
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		status, answer := "200 OK", "{}"
		if strings.Contains(request, "/containers/create") {
			var asked map[string]any
			_ = json.Unmarshal(body, &asked)
			d.asked <- asked
			status, answer = "400 Bad Request", `{"message":"noted"}`
		}
		if strings.HasPrefix(request, "HEAD") {
			answer = ""
		}
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nApi-Version: 1.47\r\nOstype: linux\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(answer), answer)
	}
}

// create gives the request's host part, or what the command says instead.
func (d *dockerCLI) create(t *testing.T, flag, value string) (host map[string]any, refusal string) {
	t.Helper()
	cmd := exec.Command(d.binary, "--host", "unix://"+d.socket, "create", "--"+flag+"="+value, "image")
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=/usr/bin:/bin"}
	out, _ := cmd.CombinedOutput()
	select {
	case body := <-d.asked:
		host, _ := body["HostConfig"].(map[string]any)
		return host, ""
	default:
		return nil, strings.TrimSpace(string(out))
	}
}

// TestDocker compares what docker's command refuses with what we do. Where we
// differ the reason stands there.
func TestDocker(t *testing.T) {
	d := newDockerCLI(t)
	parse := map[string]func(string) (string, error){
		"volume":       func(s string) (string, error) { m, err := ParseVolume(s); return m.Target, err },
		"mount":        func(s string) (string, error) { m, err := ParseMount(s); return m.Target, err },
		"add-host":     ParseAddHost,
		"sysctl":       func(s string) (string, error) { _, v, err := ParseSysctl(s); return v, err },
		"security-opt": func(s string) (string, error) { return "", ParseSecurityOpt(s, new(Security)) },
		"label":        func(s string) (string, error) { name, _, err := ParseLabel(s); return name, err },
		"dns":          func(s string) (string, error) { return "", DNS{Servers: []string{s}}.check() },
		"dns-search":   func(s string) (string, error) { return "", DNS{Search: []string{s}}.check() },
		"memory":       func(s string) (string, error) { n, err := ParseBytes(s); return fmt.Sprint(n), err },
		"ulimit": func(s string) (string, error) {
			r, err := ParseUlimit(s)
			return fmt.Sprintf("%s %d %d", strings.ToLower(strings.TrimPrefix(r.Type, "RLIMIT_")), int64(r.Soft), int64(r.Hard)), err
		},
		"device": func(s string) (string, error) {
			list, err := ParseDevice(s, func(name string) ([]specs.LinuxDevice, error) { return []specs.LinuxDevice{{Path: name}}, nil })
			if err != nil {
				return "", err
			}
			return list[0].Path + " " + list[0].Access, nil
		},
	}
	field := func(host map[string]any, list string, names ...string) string {
		var out []string
		if l, ok := host[list].([]any); ok && len(l) == 1 {
			for _, n := range names {
				out = append(out, fmt.Sprint(l[0].(map[string]any)[n]))
			}
		}
		return strings.Join(out, " ")
	}
	read := map[string]func(map[string]any) string{
		"ulimit": func(h map[string]any) string { return field(h, "Ulimits", "Name", "Soft", "Hard") },
		"device": func(h map[string]any) string { return field(h, "Devices", "PathInContainer", "CgroupPermissions") },
		"memory": func(h map[string]any) string { return fmt.Sprintf("%.0f", h["Memory"]) },
	}
	for _, tt := range dockerCases {
		host, refusal := d.create(t, tt.flag, tt.value)
		got, err := parse[tt.flag](tt.value)
		name := "--" + tt.flag + "=" + tt.value
		switch {
		case tt.differs == "" && (err != nil) != (refusal != ""):
			t.Errorf("%s: we say %v, docker says %q", name, err, refusal)
		case tt.differs != "" && (err != nil) == (refusal != ""):
			t.Errorf("%s: no difference any more: %s", name, tt.differs)
		case err == nil && refusal == "" && read[tt.flag] != nil && read[tt.flag](host) != got:
			t.Errorf("%s: we read %s, docker reads %s", name, got, read[tt.flag](host))
		}
	}
}

const (
	byDaemon = "docker's daemon refuses it, which is not asked here"
	stricter = "it would be written into a file by lines and words"
)

var dockerCases = []struct{ flag, value, differs string }{
	{"volume", "/a:/b", ""}, {"volume", "/a:/b:ro", ""}, {"volume", "./a:/b", ""}, {"volume", "foo:/b", ""}, {"volume", "/b", ""},
	{"volume", "/a:/b:", ""}, {"volume", ":/b", ""}, {"volume", "/a:", ""}, {"volume", "/a:/b:ro:z", ""},
	{"volume", "/b:ro", byDaemon}, {"volume", "foo/bar:/b", byDaemon}, {"volume", "/a:b", byDaemon}, {"volume", "~/x:/b", byDaemon},
	{"mount", "type=bind,src=/a,dst=/b", ""}, {"mount", `type=bind,"src=/a,c",dst=/b`, ""}, {"mount", "TYPE=bind,src=/a,dst=/b,ro=0", ""},
	{"mount", "type=bind,src=/a", ""}, {"mount", "type=bind, src=/a,dst=/b", ""}, {"mount", "dst=/b,volume-nocopy", ""}, {"mount", "dst=/b,volume-nocopy=x", ""},
	{"mount", "type=bind,src=/a,dst=/b,tmpfs-size=1", ""}, {"mount", "type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=0700", ""}, {"mount", "type=tmpfs,dst=/b,tmpfs-mode=9", ""},
	{"mount", "type=bind,src=/a,dst=/b,bind-recursive=readonly", ""}, {"mount", "type=bind,src=/a,dst=/b,ro,bind-recursive=writable", ""},
	{"mount", "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate", ""}, {"mount", "type=bind,src=/a,dst=/b,bind-recursive=x", ""},
	{"mount", "type=bind,src=/a,dst=/b,foo=1", ""}, {"mount", "type=bind,src,dst=/b", ""}, {"mount", "", ""},
	{"mount", "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly", "rprivate is the default: it need not be said"},
	{"mount", "type=bind,src=/a,dst=/b,ro,ro", "a key that is there twice may contradict itself"},
	{"mount", "type=bind,src=a,dst=/b", byDaemon}, {"mount", "type=bind,src=/a,dst=b", byDaemon},
	{"add-host", "db:1.2.3.4", ""}, {"add-host", "db=::1", ""}, {"add-host", "db:[::1]", ""}, {"add-host", "db", ""}, {"add-host", "db:01.2.3.4", ""}, {"add-host", "db:x", ""},
	{"add-host", "db:host-gateway", "there is no bridge whose gateway it could be"}, {"add-host", "a b:1.2.3.4", stricter},
	{"sysctl", "kernel.shmmax=1", ""}, {"sysctl", "net.ipv4.ip_forward=1", ""}, {"sysctl", "kernel.panic=1", ""}, {"sysctl", "fs.mqueue.msg_max=1", ""}, {"sysctl", "net/ipv4/ip_forward=1", ""},
	{"sysctl", "kernel.shmmax", ""}, {"sysctl", "user.max_user_namespaces=1", ""}, {"sysctl", "kernel.domainname=x", "runtimes allow it: it is the UTS namespace's"},
	{"security-opt", "no-new-privileges", ""}, {"security-opt", "seccomp=unconfined", ""}, {"security-opt", "label=disable", ""}, {"security-opt", "foo", ""},
	{"security-opt", "apparmor=unconfined", ""}, {"security-opt", "systempaths=unconfined", ""}, {"security-opt", "label=type:x", "umiak sets no labels"},
	{"label", "a=b", ""}, {"label", "a", ""}, {"label", "=x", ""},
	{"dns", "1.2.3.4", ""}, {"dns", "::1", ""}, {"dns", "x", ""}, {"dns", "fe80::1%eth0", ""},
	{"dns-search", "example.org", ""}, {"dns-search", ".", ""}, {"dns-search", "a b", ""}, {"dns-search", "a_b.c", "resolvers take it"},
	{"memory", "100m", ""}, {"memory", "1.5g", ""}, {"memory", "1x", ""}, {"memory", "512", ""}, {"memory", "1GiB", ""}, {"memory", "-1", ""},
	{"ulimit", "nofile=1:2", ""}, {"ulimit", "nofile=-1", ""}, {"ulimit", "nofile=5:-1", ""}, {"ulimit", "nofile=-1:5", ""}, {"ulimit", "nofile=2:1", ""},
	{"ulimit", "nofile=", ""}, {"ulimit", "NOFILE=1", ""}, {"ulimit", "nofile=1:2:3", ""}, {"ulimit", "rttime=1", ""}, {"ulimit", "x=1", ""},
	{"ulimit", "as=1", "it works: docker has it off for its own init's sake"},
	{"device", "/dev/fuse", ""}, {"device", "/dev/fuse:rw", ""}, {"device", "/dev/fuse:/dev/x", ""}, {"device", "/dev/fuse:/dev/x:r", ""}, {"device", "/dev/fuse:/dev/x:rr", ""},
	{"device", "/dev/fuse:x", ""}, {"device", "/dev/fuse:/dev/x:rw:z", ""}, {"device", "fuse", ""},
}

// supported are the flags of docker run that umiak has or is about to have.
var supported = strings.Fields(`add-host annotation blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile
	cpu-period cpu-quota cpu-shares cpus cpuset-cpus cpuset-mems device device-read-bps device-read-iops device-write-bps device-write-iops
	dns dns-option dns-search domainname entrypoint env env-file group-add help hostname init interactive ipc label label-file
	memory memory-reservation memory-swap memory-swappiness mount name network oom-kill-disable oom-score-adj pid pids-limit platform
	privileged pull quiet read-only rm security-opt shm-size stop-signal stop-timeout sysctl tmpfs tty ulimit user userns uts volume workdir`)

// TestUnsupported: each flag of docker's command is either ours or has a hint.
func TestUnsupported(t *testing.T) {
	table := Unsupported()
	for name, hint := range table {
		if hint == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(hint, "\n") || strings.HasSuffix(hint, ".") {
			t.Errorf("%q: hint %q", name, hint)
		}
		if slices.Contains(supported, name) {
			t.Errorf("%s is supported and not", name)
		}
	}
	if n := len(unsupportedDocker) + len(unsupportedWindows) + len(unsupportedPodman); n != len(table) {
		t.Errorf("%d entries have %d names", n, len(table))
	}
	delete(table, "d")
	if _, there := Unsupported()["d"]; !there {
		t.Error("a caller can change the table")
	}
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("needs docker's command")
	}
	help, err := exec.Command(docker, "run", "--help").Output()
	if err != nil {
		t.Skip("needs docker run --help: ", err)
	}
	flags := regexp.MustCompile(`(?m)^ +(?:-([a-zA-Z]), )?--([a-z0-9-]+)`).FindAllStringSubmatch(string(help), -1)
	if len(flags) < 90 {
		t.Fatalf("only %d flags in docker's help", len(flags))
	}
	for _, f := range flags {
		short, long := f[1], f[2]
		hint, not := Unsupported()[long]
		if not == slices.Contains(supported, long) {
			t.Errorf("--%s: supported %v, hint %q", long, !not, hint)
		}
		if short != "" && not != slices.Contains(slices.Collect(maps.Keys(Unsupported())), short) {
			t.Errorf("-%s of --%s: not in the same place", short, long)
		}
	}
}
