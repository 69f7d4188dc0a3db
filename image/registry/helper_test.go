package registry

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// odd are helpers that don't do what they should. The one that hangs has a child
// that does, as scripts have.
const odd = `#!/bin/sh
read server
case "$server" in
hangs) sleep 100 & echo $! >"$PID_FILE"; echo "please
unlock the keyring" >&2; wait;;
endless) exec yes;;
fails) echo "no such keyring" >&2; exit 3;;
agent) sleep 3 & echo '{"Username":"u","Secret":"p"}';;
esac
`

func TestOddHelpers(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-odd"), []byte(odd), 0o755); err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(dir, "pid")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("PID_FILE", pidFile)
	for _, c := range []struct {
		server  string
		timeout time.Duration
		says    string
	}{
		{"hangs", 500 * time.Millisecond, "running docker-credential-odd: no answer within 500ms: it was killed: please unlock the keyring"},
		{"endless", 100 * time.Millisecond, "no answer within 100ms: it was killed"},
		{"fails", time.Minute, "running docker-credential-odd: exit status 3: no such keyring"},
		{"agent", time.Minute, ""},
	} {
		start := time.Now()
		k := &keychain{timeout: c.timeout}
		auth, err := k.ask(t.Context(), "odd", c.server)
		if c.says == "" && (err != nil || auth == nil || auth.Password != "p") || c.says != "" && (err == nil || !strings.HasSuffix(err.Error(), c.says)) {
			t.Errorf("%s: %v, %v; want %q", c.server, auth, err, c.says)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: a message of %d bytes", c.server, len(err.Error()))
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %s", c.server, took)
		}
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // its end takes a moment
		if ended(pid) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %d of the helper that was killed goes on", pid)
}

// ended tells whether there is no such process, or just its remains.
func ended(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := bytes.Cut(b, []byte(") "))
	return bytes.HasPrefix(state, []byte("Z")) || bytes.HasPrefix(state, []byte("X"))
}

// Who interrupts umiak interrupts the helper, and is not told of a timeout.
func TestHelperCancelled(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs /bin/sh")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-odd"), []byte("#!/bin/sh\nsleep 100\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	start := time.Now()
	k := &keychain{timeout: time.Minute}
	if _, err := k.ask(ctx, "odd", "x"); err == nil || strings.Contains(err.Error(), "no answer") || time.Since(start) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

func TestHead(t *testing.T) {
	var h head
	n, err := io.Copy(&h, io.LimitReader(readerFunc(func(p []byte) (int, error) { return len(p), nil }), 10*maxHelperOutput))
	if n != 10*maxHelperOutput || err != nil || len(h.b) != maxHelperOutput {
		t.Errorf("of %d bytes it keeps %d: %v", n, len(h.b), err)
	}
}
