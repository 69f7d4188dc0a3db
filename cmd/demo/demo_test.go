package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/term"
)

// fakeUmiak, set, makes the test binary play umiak. Its value is a fault to show, or "none".
const fakeUmiak = "DEMO_TEST_FAKE_UMIAK"

func TestMain(m *testing.M) {
	if fault := os.Getenv(fakeUmiak); fault != "" {
		os.Exit(fake(fault, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// fake prints what umiak is to print. Only the pull is real, so that the registry is.
func fake(fault string, args []string) int {
	store := os.Getenv("UMIAK_ROOT")
	image, last := args[len(args)-1], args[len(args)-1]
	if term.IsTerminal(2) {
		fmt.Fprintln(os.Stderr, "[bar]")
	}
	switch {
	case fault == "plain user":
		fmt.Fprintln(os.Stderr, "umiak: error: umiak needs root\numiak: hint: sudo umiak …")
		return 125
	case args[0] == "pull":
		return fakePull(fault, store, image)
	case args[0] == "images":
		io.WriteString(os.Stdout, "IMAGE\n")
		list, _ := os.ReadFile(store)
		os.Stdout.Write(list)
	case args[0] == "rmi" && fault != "rmi":
		os.Remove(store)
	case slices.Contains(args, "--explain"):
		fmt.Println("pivot_root")
	case last == look && fault == "not pid 1":
		fmt.Print(strings.Replace(fakeLook, "pid 1", "pid 12", 1))
	case last == look && fault == "sees the host":
		fmt.Print(fakeLook, "  300   200 root     S    bin/umiak run x\n")
	case last == look:
		fmt.Print(fakeLook)
	case last == flattened:
		fmt.Print("the motd of layer 2\n/etc:\nmotd\n\n/srv/data:\nnew\n-rwsr-xr-x 1 root root 3 t setuid\nlrwxrwxrwx 1 root root 4 t bin -> /bin\n")
	case slices.Contains(args, "eat"):
		fmt.Println("ate 50M")
		fmt.Fprintln(os.Stderr, "umiak: error: the memory limit of 100M killed the command")
		if fault == "status" {
			return 1
		}
		return 137
	case slices.Contains(args, "--offline"):
		fmt.Print("hello from the image\n/root\n")
	case last == "exit 42":
		return 42
	}
	return 0
}

const fakeLook = `pid 1
3f2a
  PID  PPID USER     STAT COMMAND
    1     0 root     S    sh -c echo
overlay on / type overlay (rw)
proc on /proc type proc (rw)
memory       100M (104857600 bytes)
pids         50
uid=0(root) gid=0(root) groups=0(root)
`

func fakePull(fault, store, image string) int {
	ref, err := name.ParseReference(image)
	if err != nil {
		panic(err)
	}
	head, err := remote.Head(ref)
	if err != nil && fault != "pull without a registry" {
		fmt.Fprintf(os.Stderr, "umiak: error: %v\numiak: hint: try later\n", err)
		return 125
	}
	if err == nil {
		fmt.Println(head.Digest)
	}
	os.WriteFile(store, []byte(image+"\n"), 0o600)
	return 0
}

// show runs the demo with the fake and returns all it printed.
func show(t *testing.T, fault string, change func(*demo)) (printed string, d *demo, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeUmiak, fault)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // under -race each of many starts would take a second longer
	t.Setenv("TMPDIR", t.TempDir())
	screen, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	d = &demo{umiak: self, root: true, stdout: screen, stderr: screen, box: []byte("box")}
	if change != nil {
		change(d)
	}
	err = d.run(t.Context())
	data, _ := os.ReadFile(screen.Name())
	return string(data), d, err
}

func TestDemo(t *testing.T) {
	printed, d, err := show(t, "none", nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	for _, want := range []string{
		"$ umiak pull " + d.addr + "/demo\n" + d.digest + "\n",
		"$ umiak run --memory 100m --pids-limit 50 " + d.addr + "/demo sh -c 'echo pid $$; hostname; ps; mount; limits; id'\npid 1\n",
		"killed the command\n", "# exit status 137\n", // in this order or with other output between: two streams
		"# Every step did what it should.\n",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("not shown: %q", want)
		}
	}
	if _, err := os.Stat(d.dir); err == nil {
		t.Errorf("%s is left behind", d.dir)
	}
	if t.Failed() {
		t.Log(printed)
	}
}

// TestDemoTellsTheTruth: for every fault of umiak's the demo fails, names the step, and cleans up all the same.
func TestDemoTellsTheTruth(t *testing.T) {
	for fault, want := range map[string]string{
		"not pid 1":               `step "look around": expected: the shell is pid 1; but standard output has nothing like "^pid 1$"`,
		"sees the host":           `step "look around": expected: no process of the host's; but standard output has something like`,
		"status":                  `step "memory limit": exit status 1, expected 137`,
		"pull without a registry": `step "registry gone": exit status 0, expected 125`,
		"rmi":                     `step "nothing left": expected: no such image`,
	} {
		printed, d, err := show(t, fault, nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s…", fault, err, want)
		}
		if strings.Contains(printed, "did what it should") {
			t.Errorf("%s: claims that all is well", fault)
		}
		if _, err := os.Stat(d.dir); err == nil {
			t.Errorf("%s: %s is left behind", fault, d.dir)
		}
	}
}

func TestDemoWithoutRoot(t *testing.T) {
	printed, _, err := show(t, "plain user", func(d *demo) { d.root = false })
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"You are not root", "Left out: this needs root.", "11 were left out for want of root."} {
		if !strings.Contains(printed, want) {
			t.Errorf("not shown: %q", want)
		}
	}
	if t.Failed() {
		t.Log(printed)
	}
}

func TestDemoKeeps(t *testing.T) {
	printed, d, err := show(t, "none", func(d *demo) { d.keep = true })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.dir); err != nil || !strings.Contains(printed, "# Kept: "+d.dir) {
		t.Errorf("not kept: %v", err)
	}
}

func TestDemoWithoutUmiak(t *testing.T) {
	if _, _, err := show(t, "none", func(d *demo) { d.umiak = "/nope" }); err == nil || !strings.Contains(err.Error(), "hint: `make demo`") {
		t.Errorf("error %v", err)
	}
}

func TestDemoInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("TMPDIR", t.TempDir())
	self, _ := os.Executable()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	d := &demo{umiak: self, root: true, stdout: null, stderr: null, box: []byte("box")}
	if err := d.run(ctx); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(d.dir); err == nil {
		t.Error("left behind")
	}
}

// TestTerminalIsPassedOn: where the demo has a terminal, umiak has one too, of the same width, and draws its bar.
func TestTerminalIsPassedOn(t *testing.T) {
	master, slave, err := openTerminal(os.Stdin)
	if err != nil {
		t.Skip("needs a terminal: ", err)
	}
	defer master.Close()
	var seen strings.Builder
	done := make(chan struct{})
	go func() { io.Copy(&seen, master); close(done) }()
	_, _, err = show(t, "none", func(d *demo) { d.stderr = slave })
	slave.Close()
	<-done
	if err != nil || !strings.Contains(seen.String(), "[bar]") {
		t.Errorf("error %v, seen %q", err, seen.String())
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine([]string{"run", "a:1/b@c", "it's", "$x", "", "-e=1"})
	if want := `umiak run a:1/b@c 'it'\''s' '$x' '' -e=1`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestMountsBelow(t *testing.T) {
	if got, err := mountsBelow("/dev"); err != nil || !slices.Contains(got, "/dev/pts") {
		t.Skipf("needs /dev/pts to be a mount: %q, %v", got, err)
	}
}
