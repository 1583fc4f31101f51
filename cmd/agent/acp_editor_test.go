package main

import (
	"context"
	"os"
	"sync"

	sdk "github.com/coder/acp-go-sdk"
)

// editor is a client of the protocol: it notes what it is told, and decides by decide.
type editor struct {
	conn    *sdk.ClientSideConnection
	decide  func(sdk.RequestPermissionRequest) string
	buffers map[string]string // files that are open, by absolute path

	mu    sync.Mutex
	asked []sdk.RequestPermissionRequest
	told  []sdk.SessionUpdate
}

func (e *editor) RequestPermission(_ context.Context, r sdk.RequestPermissionRequest,
) (sdk.RequestPermissionResponse, error) {
	e.mu.Lock()
	e.asked = append(e.asked, r)
	e.mu.Unlock()
	if id := e.decide(r); id != "" {
		return sdk.RequestPermissionResponse{
			Outcome: sdk.NewRequestPermissionOutcomeSelected(sdk.PermissionOptionId(id)),
		}, nil
	}
	return sdk.RequestPermissionResponse{Outcome: sdk.NewRequestPermissionOutcomeCancelled()}, nil
}

func (e *editor) SessionUpdate(_ context.Context, n sdk.SessionNotification) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, n.Update)
	return nil
}

func (e *editor) ReadTextFile(_ context.Context, r sdk.ReadTextFileRequest) (sdk.ReadTextFileResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if text, open := e.buffers[r.Path]; open {
		return sdk.ReadTextFileResponse{Content: text}, nil
	}
	data, err := os.ReadFile(r.Path)
	return sdk.ReadTextFileResponse{Content: string(data)}, err
}

func (e *editor) WriteTextFile(_ context.Context, r sdk.WriteTextFileRequest) (sdk.WriteTextFileResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.buffers == nil {
		e.buffers = map[string]string{}
	}
	e.buffers[r.Path] = r.Content
	return sdk.WriteTextFileResponse{}, os.WriteFile(r.Path, []byte(r.Content), 0o644)
}

func (e *editor) CreateTerminal(context.Context, sdk.CreateTerminalRequest) (sdk.CreateTerminalResponse, error) {
	return sdk.CreateTerminalResponse{}, sdk.NewMethodNotFound(sdk.ClientMethodTerminalCreate)
}

func (e *editor) KillTerminal(context.Context, sdk.KillTerminalRequest) (sdk.KillTerminalResponse, error) {
	return sdk.KillTerminalResponse{}, sdk.NewMethodNotFound(sdk.ClientMethodTerminalKill)
}

func (e *editor) TerminalOutput(context.Context, sdk.TerminalOutputRequest) (sdk.TerminalOutputResponse, error) {
	return sdk.TerminalOutputResponse{}, sdk.NewMethodNotFound(sdk.ClientMethodTerminalOutput)
}

func (e *editor) ReleaseTerminal(context.Context, sdk.ReleaseTerminalRequest) (sdk.ReleaseTerminalResponse, error) {
	return sdk.ReleaseTerminalResponse{}, sdk.NewMethodNotFound(sdk.ClientMethodTerminalRelease)
}

func (e *editor) WaitForTerminalExit(context.Context, sdk.WaitForTerminalExitRequest,
) (sdk.WaitForTerminalExitResponse, error) {
	return sdk.WaitForTerminalExitResponse{}, sdk.NewMethodNotFound(sdk.ClientMethodTerminalWaitForExit)
}
