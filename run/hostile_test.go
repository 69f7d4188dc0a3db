package run

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/child"
)

// TestKeysAreNotShared: a key in the caller's session keyring is out of reach inside, and one that
// is made inside is gone with it. The default filter forbids the calls anyway; this is without it.
func TestKeysAreNotShared(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		addCanaryKey(t)
		for _, user := range []string{"0", "1000:1000"} {
			s.options.User = user
			f := s.ourFacts(variant{}, mode)
			if f["the caller's key"] != "ENOKEY" || f["a key of our own"] != "ok" {
				t.Errorf("user %s: looking for the caller's key: %s; adding one: %s", user, f["the caller's key"], f["a key of our own"])
			}
		}
		if _, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", "own", 0); err != syscall.ENOKEY {
			t.Errorf("looking for a key made inside: %v", err)
		}
	})
}

// TestLinksWithoutResolve: whoever gives no Resolve gets a refusal, and nothing outside changes,
// whatever standard input happens to be (a linked /dev once had its nodes made there).
func TestLinksWithoutResolve(t *testing.T) {
	for _, where := range []string{"dev", "proc", "sys", "dev/pts"} {
		for _, to := range []string{"absolute", "climbing", "dangling", "file"} {
			t.Run(strings.ReplaceAll(where, "/", "-")+"-"+to, func(t *testing.T) {
				s := newStage(t)
				canary := t.TempDir()
				target := map[string]string{
					"absolute": canary, "climbing": strings.Repeat("../", 20) + canary, "dangling": "/nowhere", "file": "bin/probe",
				}[to]
				s.link(target, where)
				c := s.config(child.Vfork, "probe", "look")
				dir, err := os.Open(canary)
				if err != nil {
					t.Fatal(err)
				}
				defer dir.Close()
				c.Stdio[0] = dir
				st, out, err := s.run(c)
				if beneath := strings.Contains(where, "/"); beneath && (err != nil || st.Code != 0) {
					t.Errorf("what a mount hides: %+v, %q, %v", st, out, err)
				} else if !beneath && (err == nil || !strings.Contains(err.Error(), "/"+where)) {
					t.Errorf("%+v, %q, error %v", st, out, err)
				}
				if left := names(canary); len(left) > 0 {
					t.Errorf("made outside: %q", left)
				}
				if _, err := os.Lstat(filepath.Join(s.root(), "nowhere")); err == nil {
					t.Error("made in the image")
				}
			})
		}
	}
}
