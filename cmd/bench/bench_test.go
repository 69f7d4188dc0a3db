package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// playMain makes the test binary the bench.
const playMain = "UMIAK_BENCH_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(playMain) != "" || len(os.Args) > 1 && os.Args[1] == fetchVerb {
		main()
		return
	}
	os.Exit(m.Run())
}

// benchCommand is the bench, in the module's directory, with umiak built.
func benchCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	umiak := filepath.Join(t.TempDir(), "umiak")
	build := exec.Command("go", "build", "-o", umiak, "../umiak")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building umiak: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"--umiak", umiak}, args...)...)
	cmd.Env = append(os.Environ(), playMain+"=1")
	return cmd
}

// TestQuick measures once, and finds nothing left behind.
func TestQuick(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to run containers")
	}
	dir := shm(t)
	cmd := benchCommand(t, "--quick", "--dir", dir)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), log.String())
	}
	for _, want := range []string{"machine: ", "\numiak run ", "\ntrue alone ", "\ntar -xzf ", "\numiak pull ", "umiak pull / tar -xzf "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q", want)
		}
	}
	if _, err := exec.LookPath("cc"); err == nil && !strings.Contains(out.String(), "umiak run / C floor") {
		t.Error("there is a C compiler, but no floor was measured")
	}
	if t.Failed() {
		t.Log(out.String())
	}
	nothingLeft(t, dir)
}

// TestInterrupted: a bench that is told to stop, stops and tidies up.
func TestInterrupted(t *testing.T) {
	dir := shm(t)
	cmd := benchCommand(t, "--dir", dir)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Read(make([]byte, 1)); err != nil { // it has begun
		t.Error(err)
	}
	time.Sleep(300 * time.Millisecond)
	cmd.Process.Signal(syscall.SIGTERM)
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("ended with %v, want exit status 130", err)
	}
	nothingLeft(t, dir)
}

// shm is a directory in memory, where there is one: the test's own may be on a disk.
func shm(t *testing.T) string {
	t.Helper()
	if !roomy("/dev/shm", room) {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "umiak-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// nothingLeft: no file in dir, and no loop device of one.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, error %v", files, err)
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, loop := range loops {
		if file, err := os.ReadFile(loop); err == nil && strings.HasPrefix(string(file), dir) {
			t.Errorf("left behind: %s of %s", loop, file)
		}
	}
}

func newTestStage(t *testing.T) *stage {
	t.Helper()
	s, err := newStage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func shell(script string) *row {
	return &row{name: script, next: always(command{argv: []string{"/bin/sh", "-c", script}})}
}

// TestTime: wall time and processor time are told apart.
func TestTime(t *testing.T) {
	s := newTestStage(t)
	got, err := s.once(t.Context(), shell("sleep 0.1"))
	if err != nil || got.wall < 100*time.Millisecond || got.cpu <= 0 || got.cpu > got.wall {
		t.Errorf("%+v, error %v", got, err)
	}
	busy, err := s.once(t.Context(), shell("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"))
	if err != nil || busy.cpu < 5*time.Millisecond {
		t.Errorf("%+v, error %v", busy, err)
	}
}

// TestInterleave: as many runs as asked for, and a row that fails is left out with its reason while others go on.
func TestInterleave(t *testing.T) {
	s := newTestStage(t)
	good, bad, out := shell("exit 0"), shell("echo the reason >&2; echo a hint >&2; exit 3"), leftOut("absent", "not installed")
	if err := s.interleave(t.Context(), []*row{good, bad, out}, 2, 4); err != nil {
		t.Fatal(err)
	}
	if len(good.samples) != 4 || len(bad.samples) != 0 || len(out.samples) != 0 {
		t.Errorf("%d, %d and %d samples", len(good.samples), len(bad.samples), len(out.samples))
	}
	if bad.left != "failed: sh: exit status 3: the reason" {
		t.Errorf("left out: %s", bad.left)
	}
	if bad.mustHave() == nil || good.mustHave() != nil {
		t.Error("mustHave")
	}
	if firstMeasured(bad, out, good) != good {
		t.Error("firstMeasured")
	}
}

func TestInterleaveIsInterrupted(t *testing.T) {
	s := newTestStage(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := s.interleave(ctx, []*row{shell("sleep 30 & wait")}, 0, 1)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
}

func TestMoveSpec(t *testing.T) {
	spec := `{"ociVersion":"1.2.1","root":{"path":"/c/state/1/root"},"mounts":[{"source":"/c/state/1/hosts"},{"source":"/c/state/10"}]}`
	got, err := moveSpec([]byte(spec), "/b")
	want := `{"ociVersion":"1.0.2","root":{"path":"/b/root"},"mounts":[{"source":"/b/hosts"},{"source":"/c/state/10"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, error %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"root":{"path":"root"}}`, `{"root":{"path":"/root"}}`} {
		if _, err := moveSpec([]byte(bad), "/b"); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
