package unpack

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	compareLayers  = flag.String("compare.layers", "", "files to flatten, oldest first: a pattern")
	compareRuns    = flag.Int("compare.runs", 5, "runs of each")
	compareOn      = flag.String("compare.on", "tmpfs", "file system, made anew for each run: tmpfs or ext4")
	compareInto    = flag.String("compare.into", "", "flatten here and do nothing else: what TestCompare starts")
	compareLibrary = flag.Bool("compare.library", false, "with the library's gzip")
	compareVerify  = flag.Bool("compare.verify", false, "with a sha256 of each layer")
	compareProfile = flag.String("compare.profile", "", "write a CPU profile of the last run here")
)

// TestCompare runs us and GNU tar in turn over the same layers, each in a process of its own on a file system of its own, and prints
// medians. CPU time is what to compare on a busy machine. With one layer or many:
//
//	go test -run TestCompare$ -v -args -compare.layers 'debian/*.tar.gz' -compare.on ext4
func TestCompare(t *testing.T) {
	files, _ := filepath.Glob(*compareLayers)
	if len(files) == 0 {
		t.Skip("needs -compare.layers")
	}
	self := []string{os.Args[0], "-test.run=^TestCompareChild$", "-compare.layers", *compareLayers,
		"-compare.profile", *compareProfile}
	ours := func(more ...string) func(dir string) [][]string {
		return func(dir string) [][]string {
			return [][]string{slices.Concat(self, []string{"-compare.into", dir}, more)}
		}
	}
	kinds := []struct {
		name string
		cmds func(dir string) [][]string
	}{
		{"tar", func(dir string) (list [][]string) {
			for _, f := range files {
				list = append(list, []string{"tar", "-C", dir, "-xpf", f})
			}
			return list
		}},
		{"umiak", ours()},
		{"umiak, verifying", ours("-compare.verify")},
		{"umiak, library", ours("-compare.library")},
	}
	results := make([][]usage, len(kinds))
	for range *compareRuns {
		for i, k := range kinds {
			t.Run("", func(t *testing.T) { // unmounts at its end
				results[i] = append(results[i], measure(t, k.cmds(freshFS(t, *compareOn))))
			})
		}
	}
	base := medians(results[0])
	for i, k := range kinds {
		m := medians(results[i])
		t.Logf("%-17s cpu %.2f s (user %.2f, system %.2f), %.2f of tar's; wall %.2f s, %.2f of tar's; %d MiB at its peak", k.name,
			(m.user + m.system).Seconds(), m.user.Seconds(), m.system.Seconds(), float64(m.user+m.system)/float64(base.user+base.system),
			m.wall.Seconds(), float64(m.wall)/float64(base.wall), m.peak>>10)
	}
}

// TestCompareChild is what TestCompare measures.
func TestCompareChild(t *testing.T) {
	if *compareInto == "" {
		t.Skip("needs TestCompare")
	}
	if *compareProfile != "" {
		f, err := os.Create(*compareProfile)
		must(t, err)
		must(t, pprof.StartCPUProfile(f))
		defer pprof.StopCPUProfile()
	}
	files, _ := filepath.Glob(*compareLayers)
	var layers []Layer
	for _, name := range files {
		l := Layer{Name: name, Open: func(context.Context) (io.ReadCloser, error) { return os.Open(name) }}
		if *compareVerify {
			l.Verify = summer{sha256.New()}
		}
		layers = append(layers, l)
	}
	_, err := flattenTo(t, *compareInto, layers, Options{LibraryGzip: *compareLibrary})
	must(t, err)
	// Not ru_maxrss, which begins with what the parent had when it forked.
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println(peakMark, strings.Fields(peak)[0])
}

const peakMark = "peak KiB:"

// peakOf finds what TestCompareChild printed.
func peakOf(out []byte) (kib int64) {
	_, peak, _ := strings.Cut(string(out), peakMark)
	fmt.Sscan(peak, &kib)
	return kib
}

type summer struct{ hash.Hash }

func (s summer) Close() error {
	if len(s.Sum(nil)) == 0 {
		return errors.New("no sum")
	}
	return nil
}

type usage struct {
	user, system, wall time.Duration
	peak               int64 // KiB resident; 0: unknown
}

func measure(t *testing.T, cmds [][]string) (u usage) {
	start := time.Now()
	for _, c := range cmds {
		cmd := exec.Command(c[0], c[1:]...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(c, " "), err, out)
		}
		u.user += cmd.ProcessState.UserTime()
		u.system += cmd.ProcessState.SystemTime()
		u.peak = max(u.peak, peakOf(out))
	}
	u.wall = time.Since(start)
	return u
}

func medians(list []usage) usage {
	median := func(f func(usage) int64) int64 {
		var values []int64
		for _, u := range list {
			values = append(values, f(u))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	cpu := func(u usage) int64 { return int64(u.user + u.system) }
	m := median(cpu)
	one := list[slices.IndexFunc(list, func(u usage) bool { return cpu(u) == m })]
	one.wall = time.Duration(median(func(u usage) int64 { return int64(u.wall) }))
	one.peak = median(func(u usage) int64 { return u.peak })
	return one
}

// freshFS mounts a file system that has never seen a file: where many were deleted, ext4 is slow for reasons of its own.
func freshFS(t *testing.T, typ string) string {
	if typ == "tmpfs" {
		return tmpfs(t, "size=4g")
	}
	needRoot(t)
	image := filepath.Join(tmpfs(t, "size=4g"), "image")
	dir := t.TempDir()
	for _, c := range []string{"truncate -s 3g " + image, "mkfs." + typ + " -q " + image, fmt.Sprintf("mount -o loop %s %s", image, dir)} {
		if out, err := exec.Command("sh", "-c", c).CombinedOutput(); err != nil {
			t.Skipf("needs root: %s: %v\n%s", c, err, out)
		}
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, os.Remove(filepath.Join(dir, "lost+found")))
	return dir
}
