package state

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for a run that is killed.
func TestMain(m *testing.M) {
	if base := os.Getenv("STATE_TEST_HOLD"); base != "" {
		s, err := Create(base, "held")
		if err != nil {
			panic(err)
		}
		if err := s.NoteCgroups([]string{"/a", "/b"}); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("ready")
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

func none([]string) error { return nil }

func TestSweepLeavesWhatIsHeld(t *testing.T) {
	base := t.TempDir()
	s, err := Create(base, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := Sweep(base, 8, none); n != 0 || err != nil {
		t.Fatalf("swept %d, %v: a run's directory went while it ran", n, err)
	}
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("after Remove: %v", err)
	}
}

func TestCreateRefusesAnIDInUse(t *testing.T) {
	base := t.TempDir()
	s, err := Create(base, "one")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Remove()
	if _, err := Create(base, "one"); !errors.Is(err, os.ErrExist) {
		t.Fatalf("second Create: %v, want ErrExist", err)
	}
}

func TestSweepAfterKill(t *testing.T) {
	base := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STATE_TEST_HOLD="+base)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 5)
	if _, err := out.Read(ready); err != nil {
		t.Fatal(err)
	}
	if n, _ := Sweep(base, 8, none); n != 0 {
		t.Fatal("swept a directory whose holder lives")
	}
	cmd.Process.Kill()
	cmd.Wait()

	var cleaned []string
	failing := func([]string) error { return errors.New("busy") }
	if n, _ := Sweep(base, 8, failing); n != 0 {
		t.Fatal("removed the note of a cgroup that could not be removed")
	}
	n, err := Sweep(base, 8, func(paths []string) error { cleaned = paths; return nil })
	if n != 1 || err != nil {
		t.Fatalf("swept %d, %v; want 1", n, err)
	}
	if !slices.Equal(cleaned, []string{"/a", "/b"}) {
		t.Errorf("cgroups to clean: %q", cleaned)
	}
	if left, _ := filepath.Glob(base + "/*"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A link in place of a run's directory must not lead a sweep out of its base.
func TestSweepFollowsNoLink(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := Sweep(base, 8, none); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(canary); err != nil {
		t.Fatal("the canary is gone:", err)
	}
}
