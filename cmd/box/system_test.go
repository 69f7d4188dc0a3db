package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestPsShowsThisProcess(t *testing.T) {
	out, errs, status := box("", "ps")
	want := fmt.Sprintf(`(?m)^ *%d +%d \S+ +[A-Z] +\S*box\.test`, os.Getpid(), os.Getppid())
	if status != 0 || !strings.HasPrefix(out, "  PID  PPID USER     STAT COMMAND\n") || !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("status %d, errors %q, output %q", status, errs, out)
	}
}

func TestParseStat(t *testing.T) {
	for line, want := range map[string]string{
		"1 (sh) S 0 1 1":        "sh S 0",
		"7 (a) b (c) R 12 1":    "a) b (c R 12",
		"7 (kworker/0:1) I 2 0": "kworker/0:1 I 2",
		"":                      "? ? ?",
		"1 (cut":                "? ? ?",
		"1 (cut) ":              "cut ? ?",
	} {
		comm, state, ppid := parseStat(line)
		if got := comm + " " + state + " " + ppid; got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestAboutTheSystem(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"hostname":  "^" + regexp.QuoteMeta(name) + "\n$",
		"uname":     "^Linux\n$",
		"uname -sn": "^Linux " + regexp.QuoteMeta(name) + "\n$",
		"id -u":     fmt.Sprintf("^%d\n$", os.Geteuid()),
		"id":        fmt.Sprintf(`^uid=%d\(\S+\) gid=%d\(\S+\) groups=\d`, os.Geteuid(), os.Getegid()),
		"mount":     `(?m)^proc on /proc type proc \(\S+\)$`,
		"pwd":       "/cmd/box\n$",
		"env":       "(?m)^PATH=",
	} {
		out, errs, status := box("", strings.Fields(command)...)
		if status != 0 || errs != "" || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s: status %d, output %q, errors %q", command, status, out, errs)
		}
	}
}

// fakeRoot writes files (path → content) below a new directory.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLimits(t *testing.T) {
	v1 := "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"31 20 0:27 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n" +
		"32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing mounted", map[string]string{"proc/self/mountinfo": "1 0 0:1 / / rw - ext4 /dev/a rw", "proc/self/cgroup": "0::/"},
			"no cgroup file system is mounted here, so the limits can't be seen\n"},
		{"root of v2", map[string]string{"proc/self/mountinfo": "1 0 0:1 / /cg rw - cgroup2 none rw", "proc/self/cgroup": "0::/"},
			"the mounted cgroup file systems hold no limit for this group\n"},
		{"v2", map[string]string{"proc/self/mountinfo": "1 0 0:1 / /cg rw - cgroup2 none rw", "proc/self/cgroup": "0::/a/b",
			"cg/a/b/memory.max": "104857600", "cg/a/b/memory.swap.max": "0", "cg/a/b/pids.max": "max", "cg/a/b/cpu.max": "150000 100000",
			"cg/a/b/cpuset.cpus.effective": "0-1"},
			"memory       100M (104857600 bytes)\nswap         0B (0 bytes)\npids         no limit\ncpus         1.5\ncpu set      0-1\n"},
		{"v2 bound to the group", map[string]string{"proc/self/mountinfo": `1 0 0:1 /a/b /c\040g rw - cgroup2 none rw`, "proc/self/cgroup": "0::/a/b",
			"c g/cpu.max": "max 100000"}, "cpus         no limit\n"},
		{"v2 seen from elsewhere", map[string]string{"proc/self/mountinfo": "1 0 0:1 /../x /cg rw - cgroup2 none rw", "proc/self/cgroup": "0::/",
			"cg/pids.max": "7"}, "pids         7\n"},
		{"v1", map[string]string{"proc/self/mountinfo": v1, "proc/self/cgroup": "4:memory:/u\n2:cpu,cpuacct:/v\n0::/",
			"sys/fs/cgroup/memory/u/memory.limit_in_bytes":       "104857600",
			"sys/fs/cgroup/memory/u/memory.memsw.limit_in_bytes": "9223372036854771712",
			"sys/fs/cgroup/cpu/v/cpu.cfs_quota_us":               "50000", "sys/fs/cgroup/cpu/v/cpu.cfs_period_us": "100000"},
			"memory       100M (104857600 bytes)\nmemory+swap  no limit\ncpus         0.5\n"},
	} {
		var out bytes.Buffer
		if err := printLimits(&out, fakeRoot(t, test.files)); err != nil || out.String() != test.want {
			t.Errorf("%s: error %v, got\n%swant\n%s", test.name, err, out.String(), test.want)
		}
	}
	if err := printLimits(&bytes.Buffer{}, t.TempDir()); err == nil {
		t.Error("without /proc: no error")
	}
}
