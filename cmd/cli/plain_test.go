package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPlainUser runs the built binary as nobody: it says what it lacks, and leaves nothing.
func TestPlainUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: dropping to another user")
	}
	dir, err := os.MkdirTemp("", "umiak-plain-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "roots"), 0o700); err != nil { // root's, and closed
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", dir, "../umiak")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building umiak: %v\n%s", err, out)
	}
	for _, x := range []struct {
		args   string
		env    []string
		status int
		says   string
	}{
		{"run 127.0.0.1:1/x true", []string{"HOME=" + dir}, 125, "umiak: error: umiak needs root for now"},
		{"pull 127.0.0.1:1/x", []string{"HOME=" + dir}, 125, "umiak: hint: sudo umiak …"},
		{"images", []string{"HOME=" + dir}, 0, ""},
		{"images", []string{"XDG_DATA_HOME=" + dir + "/data"}, 0, ""},
		{"images", []string{"UMIAK_ROOT=" + dir + "/roots"}, 125, "umiak: error: "},
		{"version", nil, 0, ""},
	} {
		cmd := exec.Command(filepath.Join(dir, "umiak"), strings.Fields(x.args)...)
		cmd.Env, cmd.Dir = x.env, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		status := 0
		if err := cmd.Run(); err != nil {
			e, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				t.Fatal(err)
			}
			status = e.ExitCode()
		}
		if status != x.status || !strings.Contains(stderr.String(), x.says) || x.says == "" && stderr.Len() > 0 {
			t.Errorf("%s %v: status %d, want %d; said %q, want %q", x.args, x.env, status, x.status, stderr.String(), x.says)
		}
	}
	// Commands that only look make nothing.
	for _, made := range []string{"/.local", "/data"} {
		if _, err := os.Stat(dir + made); err == nil {
			t.Errorf("%s was made by a command that only looks", made)
		}
	}
}
