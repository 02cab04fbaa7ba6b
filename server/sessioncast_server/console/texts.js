// Texts that readers are shown, exactly as the interface promises them. Where the server sends its own, that is shown.

export const texts = {
  sameModel: "A session with the same model is already active. View the active session.",
  confirm:
    "This will replace the existing session and any unsaved progress will be lost. Are you sure you want to continue?",
  loss: "Replacing this session will result in the loss of any unsaved progress.",
  busy: "This session is currently being modified. Please try again later.",
  createFailed: "Failed to create session. Please try again later.",
  unavailable: "The server is currently unavailable. Please try again in a few minutes.",
  unexpected: "An unexpected error occurred. Please contact support.",
  modelMissing: "Model Not Found",
  loadFailed: "Failed to load session data. Please try again.",
};
