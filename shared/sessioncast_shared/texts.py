"""Texts that users are shown, exactly as the interface promises them."""

SAME_MODEL = "A session with the same model is already active. View the active session."
CONFIRM = (
    "This will replace the existing session and any unsaved progress will be lost. Are you sure you want to continue?"
)
LOSS = "Replacing this session will result in the loss of any unsaved progress."
BUSY = "This session is currently being modified. Please try again later."
CREATE_FAILED = "Failed to create session. Please try again later."
UNAVAILABLE = "The server is currently unavailable. Please try again in a few minutes."
UNEXPECTED = "An unexpected error occurred. Please contact support."
MODEL_MISSING = "Model Not Found"
SECURITY = "Session security violation"
LOAD_FAILED = "Failed to load session data. Please try again."
CONTEXT = "Context unavailable"
