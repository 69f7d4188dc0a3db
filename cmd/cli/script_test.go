package cli_test

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/umiak/umiak/cmd/cli"
	"github.com/umiak/umiak/cmd/demo/sample"
	"github.com/umiak/umiak/run/child"
)

// TestMain makes this test binary umiak, for the scripts, and the child that it may re-exec.
func TestMain(m *testing.M) {
	if child.Main() {
		return
	}
	testscript.Main(m, map[string]func(){"umiak": func() {
		app := &cli.App{Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv, Environ: os.Environ()}
		os.Exit(cli.Run(context.Background(), app))
	}})
}

// scripts runs the scripts of a directory against a registry that holds the sample image.
func scripts(t *testing.T, dir string) {
	box, err := sample.Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	img, err := sample.Image(box)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			addr, stop, err := sample.Serve(images(img))
			if err != nil {
				return err
			}
			e.Values["stop"] = stop
			e.Defer(stop)
			// The cache is on a file system in memory where there is one: a script's directory
			// may be on a disk whose file system is slow to make files just after many went.
			cache, err := os.MkdirTemp(shm(), "umiak-test-")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(cache) })
			e.Setenv("UMIAK_ROOT", cache)
			e.Setenv("IMAGE", addr+"/demo")
			e.Setenv("REGISTRY", addr)
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("LAYOUT", filepath.Join(e.WorkDir, "layout"))
			if err := writeLayout(filepath.Join(e.WorkDir, "layout"), img); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Cmds:      commands,
		Condition: condition,
	})
}

// commands are what the scripts have besides testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"status": status, "registry-gone": registryGone, "nothing-left": nothingLeft, "eventually": eventually,
}

// condition is what scripts can ask for.
func condition(name string) (bool, error) {
	if name != "static" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	e, err := elf.Open("/proc/self/exe")
	if err != nil {
		return false, err
	}
	defer e.Close()
	return !slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), nil
}

func shm() string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// writeLayout puts an image, and nothing else, into an OCI layout, under the name v1.
func writeLayout(dir string, img v1.Image) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"}))
}

func images(img v1.Image) map[string]v1.Image {
	return map[string]v1.Image{"demo": img}
}

func TestScripts(t *testing.T) {
	scripts(t, "testdata/any")
}

// The scripts that run containers.
func TestRunScripts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: running containers")
	}
	before := groups()
	t.Cleanup(func() {
		// Another package's tests may run containers too, for a moment.
		var left map[string]bool
		for range 50 {
			left = groups()
			maps.DeleteFunc(left, func(p string, _ bool) bool { return before[p] })
			if len(left) == 0 {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("cgroups left behind: %v", slices.Sorted(maps.Keys(left)))
	})
	scripts(t, "testdata/root")
}

// status runs a command and expects its exit status: status 125 umiak run …
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// registryGone closes the registry: whoever contacts it from now on fails.
func registryGone(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Value("stop").(func())()
}

// nothingLeft checks that no run's directory and no temporary file is left.
func nothingLeft(ts *testscript.TestScript, _ bool, args []string) {
	cache := ts.Getenv("UMIAK_ROOT")
	for _, dir := range []string{"state", "tmp"} {
		left, err := filepath.Glob(filepath.Join(cache, dir, "*"))
		ts.Check(err)
		if len(left) > 0 {
			ts.Fatalf("left behind: %q", left)
		}
	}
}

// groups are the cgroups of runs that there are, of these tests' or of somebody else's.
func groups() map[string]bool {
	found := map[string]bool{}
	filepath.WalkDir("/sys/fs/cgroup", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "umiak-") {
			found[p] = true
		}
		return nil
	})
	return found
}

// eventually waits until a file's content has a line.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		b, _ := os.ReadFile(ts.MkAbs(args[0]))
		if strings.Contains(string(b), args[1]) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s never said %q", args[0], args[1])
}
