package cli_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() {
	commands["hostile"], commands["unharmed"] = hostile, unharmed
}

// canaries are what no image may change: a directory of the script's own and what a linked /dev,
// /etc or WORKDIR would lead to first.
var canaries = []string{"canary", "/dev/null", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf"}

// hostile makes an image of $IMAGE and lines that spoil it, and pushes it as $REGISTRY/NAME:
//
//	hostile NAME 'LINE' 'LINE'...
//
// A line is a word and its arguments, each plain or quoted as in Go; see [spoiler.line].
func hostile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: hostile NAME LINE...")
	}
	if err := watch(ts); err != nil {
		ts.Fatalf("%v", err)
	}
	base, err := name.ParseReference(ts.Getenv("IMAGE"))
	ts.Check(err)
	img, err := remote.Image(base)
	ts.Check(err)
	config, err := img.ConfigFile()
	ts.Check(err)
	s := &spoiler{config: config.Config.DeepCopy()}
	s.tar = tar.NewWriter(&s.layer)
	for _, line := range args[1:] {
		if err := s.line(line); err != nil {
			ts.Fatalf("%q: %v", line, err)
		}
	}
	ts.Check(s.tar.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.layer.Bytes())), nil })
	ts.Check(err)
	img, err = mutate.AppendLayers(img, layer)
	ts.Check(err)
	img, err = mutate.Config(img, *s.config)
	ts.Check(err)
	ref, err := name.ParseReference(ts.Getenv("REGISTRY") + "/" + args[0])
	ts.Check(err)
	ts.Check(remote.Write(ref, img))
}

// spoiler collects what is wrong with an image.
type spoiler struct {
	layer  bytes.Buffer
	tar    *tar.Writer
	config *v1.Config
}

// line is one of
//
//	link NAME TARGET, hardlink NAME TARGET, dir NAME, file NAME CONTENT [TIMES], program NAME MODE CONTENT,
//	fifo NAME, char NAME MAJOR MINOR, gone NAME,
//	workdir DIR, user USER, env K=V, label K=V, entrypoint ARG..., cmd ARG..., stopsignal NAME
func (s *spoiler) line(line string) error {
	words, err := split(line)
	if err != nil {
		return err
	}
	a := append(words, "", "", "")
	h := tar.Header{Name: a[1], Mode: 0o755, Format: tar.FormatPAX}
	content := ""
	switch a[0] {
	case "link":
		h.Typeflag, h.Linkname = tar.TypeSymlink, a[2]
	case "hardlink":
		h.Typeflag, h.Linkname = tar.TypeLink, a[2]
	case "dir":
		h.Typeflag, h.Name = tar.TypeDir, a[1]+"/"
	case "file":
		times, _ := strconv.Atoi(a[3])
		h.Typeflag, content = tar.TypeReg, strings.Repeat(a[2], max(times, 1))
	case "program":
		if h.Mode, err = strconv.ParseInt(a[2], 8, 32); err != nil {
			return err
		}
		h.Typeflag, content = tar.TypeReg, a[3]
	case "fifo":
		h.Typeflag = tar.TypeFifo
	case "char":
		h.Typeflag, h.Mode = tar.TypeChar, 0o666
		if _, err := fmt.Sscan(a[2]+" "+a[3], &h.Devmajor, &h.Devminor); err != nil {
			return err
		}
	case "gone":
		h.Typeflag, h.Name = tar.TypeReg, filepath.Join(filepath.Dir(a[1]), ".wh."+filepath.Base(a[1]))
	default:
		return s.setting(a[0], words[1:])
	}
	h.Size = int64(len(content))
	if err := s.tar.WriteHeader(&h); err != nil {
		return err
	}
	_, err = io.WriteString(s.tar, content)
	return err
}

func (s *spoiler) setting(word string, args []string) error {
	if len(args) == 0 {
		return errors.New("no value")
	}
	switch word {
	case "workdir":
		s.config.WorkingDir = args[0]
	case "user":
		s.config.User = args[0]
	case "env":
		s.config.Env = append(s.config.Env, args...)
	case "label":
		key, value, _ := strings.Cut(args[0], "=")
		if s.config.Labels == nil {
			s.config.Labels = map[string]string{}
		}
		s.config.Labels[key] = value
	case "entrypoint":
		s.config.Entrypoint = args
	case "cmd":
		s.config.Cmd = args
	case "stopsignal":
		s.config.StopSignal = args[0]
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

// split takes a line apart at spaces; what is quoted may hold any.
func split(line string) (words []string, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			words, line = append(words, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, err
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		words, line = append(words, word), line[len(quoted):]
	}
	return words, nil
}

// watch notes what the canaries are like, once a script.
func watch(ts *testscript.TestScript) error {
	file := ts.MkAbs("canaries")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if err := os.MkdirAll(ts.MkAbs("canary/etc"), 0o755); err != nil {
		return err
	}
	for _, f := range []string{"passwd", "group"} {
		if err := os.WriteFile(ts.MkAbs("canary/etc/"+f), []byte("evil:x:0:evil\n"), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(ts.MkAbs("canary/file"), []byte("of the host\n"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(census(ts)), 0o600)
}

// unharmed compares the canaries with what they were, and looks for what must not be on a terminal
// in what the last command said.
func unharmed(ts *testscript.TestScript, _ bool, _ []string) {
	was := ts.ReadFile("canaries")
	if is := census(ts); is != was {
		ts.Fatalf("the host has changed: it was\n%s\nand is\n%s", was, is)
	}
	said := ts.ReadFile("stderr")
	for line := range strings.Lines(said) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }); i >= 0 {
			ts.Fatalf("a control character reaches the terminal: %q", line)
		}
		if len(line) > 1000 {
			ts.Fatalf("a message of %d characters: %.200s", len(line), line)
		}
		for _, internal := range []string{"(, ", "slot", "goroutine"} {
			if strings.HasPrefix(line, "umiak: ") && strings.Contains(line, internal) {
				ts.Fatalf("%q in a message: %s", internal, line)
			}
		}
	}
}

// census describes the canaries: kind, mode, owner, device number, content.
func census(ts *testscript.TestScript) string {
	var b strings.Builder
	for _, name := range canaries {
		filepath.WalkDir(ts.MkAbs(name), func(p string, d fs.DirEntry, err error) error {
			var st unix.Stat_t
			if err != nil || unix.Lstat(p, &st) != nil {
				fmt.Fprintln(&b, p, "is not there")
				return nil
			}
			content := []byte(nil)
			if d.Type().IsRegular() {
				content, _ = os.ReadFile(p)
			}
			target, _ := os.Readlink(p)
			fmt.Fprintf(&b, "%s %o %d:%d %d %d %s %x\n", p, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Nano()*int64(len(content)&1), target, sha256.Sum256(content))
			return nil
		})
	}
	return b.String()
}
