package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// helperTimeout is for helpers that wait for a keyring nobody unlocks.
const helperTimeout = 30 * time.Second

// maxHelperOutput bounds what is kept of what a helper says.
const maxHelperOutput = 64 << 10

// ask runs docker-credential-NAME. No credentials is nil without an error.
func (k *keychain) ask(ctx context.Context, helper, server string) (*authn.AuthConfig, error) {
	if strings.ContainsRune(helper, filepath.Separator) {
		return nil, fmt.Errorf("%q is not the name of a credential helper", helper)
	}
	program := "docker-credential-" + helper
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	out, complaint, err := runHelper(ctx, program, server)
	if err != nil {
		// Helpers say what is wrong on standard output.
		text := clean(out)
		if strings.Contains(text, "credentials not found") {
			return nil, nil
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			text = "" // it may be half an answer
			err = fmt.Errorf("no answer within %s: it was killed", k.timeout)
		}
		for _, text := range []string{text, clean(complaint)} {
			if text != "" {
				err = fmt.Errorf("%w: %s", err, text)
			}
		}
		return nil, fmt.Errorf("running %s: %w", program, err)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("reading what %s says: %w", program, err)
	}
	if answer.Secret == "" {
		return nil, nil
	}
	if answer.Username == "<token>" { // an OAuth refresh token, by the helpers' protocol
		return &authn.AuthConfig{IdentityToken: answer.Secret}, nil
	}
	return &authn.AuthConfig{Username: answer.Username, Password: answer.Secret}, nil
}

// runHelper gives what the program says on standard output and standard error. Many
// helpers are scripts, so what is killed is the group of processes. One that goes on
// by itself, as an agent does, is left alone if the helper ended well.
func runHelper(ctx context.Context, program, server string) (out, complaint string, err error) {
	var stdout, stderr head
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin = strings.NewReader(server)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		err = nil // it has ended well; somebody it has left behind keeps the pipe
	}
	return string(stdout.b), string(stderr.b), err
}

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxHelperOutput-len(h.b))]...)
	return len(p), nil
}
