package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// asBox makes the test binary be box, so that shells under test find real commands to start.
const asBox = "BOX_TEST_AS_BOX"

func TestMain(m *testing.M) {
	if os.Getenv(asBox) != "" {
		main()
	}
	os.Exit(m.Run())
}

// commandsDir makes a directory with a link for every command, as /bin of the image is, and makes it all of PATH.
func commandsDir(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names() {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv(asBox, "1")
	t.Setenv("GORACE", "atexit_sleep_ms=0") // under -race each of many starts would take a second longer
	return dir
}

// box runs a command in this process.
func box(stdin string, argv ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	status = dispatch(streams{strings.NewReader(stdin), &out, &errs}, argv)
	return out.String(), errs.String(), status
}

func TestDispatch(t *testing.T) {
	for _, test := range []struct {
		argv                []string
		stdin, want, errors string
		status              int
	}{
		{argv: []string{"/bin/echo", "a", "b"}, want: "a b\n"},
		{argv: []string{"box", "echo", "-n", "a"}, want: "a"},
		{argv: []string{"true"}},
		{argv: []string{"false"}, status: 1},
		{argv: []string{"box", "nosuch"}, errors: "box: no command \"nosuch\"\n", status: 127},
		{argv: []string{"wrong", "true"}},
		{argv: []string{"ls", "-z"}, errors: "usage: ls [-la1] [FILE...]\n", status: 2},
		{argv: []string{"ps", "aux"}, errors: "usage: ps\n", status: 2},
		{argv: []string{"cat", "/nope1", "-", "/nope2"}, stdin: "in", want: "in", status: 1,
			errors: "cat: open /nope1: no such file or directory\ncat: open /nope2: no such file or directory\n"},
		{argv: []string{"cat"}, stdin: "x\n", want: "x\n"},
		{argv: []string{"head", "-n", "2"}, stdin: "1\n2\n3\n", want: "1\n2\n"},
		{argv: []string{"head", "-1"}, stdin: "1\n2\n3\n", want: "1\n"},
		{argv: []string{"head", "-12"}, stdin: "1\n2", want: "1\n2"},
		{argv: []string{"head", "-n", "x"}, errors: "usage: head [-n LINES] [FILE...]\n", status: 2},
		{argv: []string{"head", "-n"}, errors: "usage: head [-n LINES] [FILE...]\n", status: 2},
		{argv: []string{"wc"}, stdin: "one two\n three\n", want: "2 3 15\n"},
		{argv: []string{"wc", "-l"}, stdin: "a\nb", want: "1\n"},
		{argv: []string{"wc", "-wc"}, stdin: "a\n\nb ", want: "2 5\n"},
		{argv: []string{"sha256sum"}, stdin: "abc",
			want: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n"},
		{argv: []string{"sleep", "-1"}, errors: "usage: sleep SECONDS\n", status: 2},
		{argv: []string{"sleep", "NaN"}, errors: "usage: sleep SECONDS\n", status: 2},
		{argv: []string{"sleep", "0.001"}},
		{argv: []string{"eat", "1m", "0", "3m"}, want: "ate 1M\nate 2M\nate 3M\n"},
		{argv: []string{"eat", "1m"}, errors: "usage: eat STEP SECONDS [LIMIT]   (as in: eat 10m 0.5)\n", status: 2},
		{argv: []string{"eat", "10x", "1"}, errors: "usage: eat STEP SECONDS [LIMIT]   (as in: eat 10m 0.5)\n", status: 2},
		{argv: []string{"test", "a", "=", "a"}},
		{argv: []string{"[", "a", "=", "b", "]"}, status: 1},
		{argv: []string{"printf", "%s=%d\n", "a", "5"}, want: "a=5\n"},
		{argv: []string{"kill"}, errors: "usage: kill [-SIGNAL] PID...\n", status: 2},
		{argv: []string{"kill", "-NOSUCH", "1"}, errors: "usage: kill [-SIGNAL] PID...\n", status: 2},
		{argv: []string{"kill", "-0", "99999999"}, errors: "kill: 99999999: no such process\n", status: 1},
		{argv: []string{"env", "A=1", "nosuch-command"}, errors: "env: exec: \"nosuch-command\": executable file not found in $PATH\n", status: 127},
	} {
		out, errs, status := box(test.stdin, test.argv...)
		if out != test.want || errs != test.errors || status != test.status {
			t.Errorf("%q: status %d, output %q, errors %q; want %d, %q, %q", test.argv, status, out, errs,
				test.status, test.want, test.errors)
		}
	}
}

func TestBoxAloneListsItsCommands(t *testing.T) {
	out, _, status := box("", "box")
	if status != 0 || !strings.Contains(out, " sha256sum ") {
		t.Errorf("status %d, output %q", status, out)
	}
}

func TestTableIsSorted(t *testing.T) {
	if !slices.IsSorted(names()) {
		t.Errorf("not sorted: %q", names())
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		args     string
		given    map[byte]string
		operands string
		bad      bool
	}{
		{args: "-la x -1", given: map[byte]string{'l': "", 'a': ""}, operands: "x -1"},
		{args: "-n5 x", given: map[byte]string{'n': "5"}, operands: "x"},
		{args: "-ln 5 x", given: map[byte]string{'l': "", 'n': "5"}, operands: "x"},
		{args: "-l -- -a", given: map[byte]string{'l': ""}, operands: "-a"},
		{args: "-", given: map[byte]string{}, operands: "-"},
		{args: "-:", bad: true},
		{args: "--long", bad: true},
		{args: "-n", bad: true},
	} {
		given, operands, err := options(strings.Fields(test.args), "lan:")
		if (err != nil) != test.bad {
			t.Errorf("%q: error %v", test.args, err)
			continue
		}
		if !test.bad && (strings.Join(operands, " ") != test.operands || len(given) != len(test.given)) {
			t.Errorf("%q: %v %q", test.args, given, operands)
		}
		for letter, value := range test.given {
			if got, ok := given[letter]; !ok || got != value {
				t.Errorf("%q: -%c is %q, want %q", test.args, letter, got, value)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"1": 1, "10k": 10 << 10, "10M": 10 << 20, "2g": 2 << 30,
		"": 0, "m": 0, "-1m": 0, "0": 0, "1.5m": 0, "9223372036854775807g": 0} {
		if got, err := bytesOf(s); got != want || (err != nil) != (want == 0) {
			t.Errorf("bytesOf(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.5K", 100 << 20: "100M", 1 << 62: "4E"} {
		if got := human(n); got != want {
			t.Errorf("human(%d) = %q, want %q", n, got, want)
		}
	}
}
