from django.urls import path

from accounts import file_views, passkey_views, second_factor_views, team_views, views

urlpatterns = [
    path("auth/login", views.LoginView.as_view()),
    path("auth/passkey", passkey_views.AskPasskeyView.as_view()),
    path("auth/passkey/login", passkey_views.PasskeyLoginView.as_view()),
    path("auth/logout", views.LogoutView.as_view()),
    path("auth/logout-all", views.LogoutAllView.as_view()),
    path("auth/password", views.PasswordView.as_view()),
    path("auth/password/reset", views.ResetPasswordView.as_view()),
    path("auth/password/reset/confirm", views.ConfirmResetView.as_view()),
    path("me/export", views.ExportView.as_view()),
    path("me/email", views.EmailView.as_view()),
    path("me/files", file_views.FilesView.as_view()),
    path("me/mfa", second_factor_views.SecondFactorView.as_view()),
    path("me/mfa/confirm", second_factor_views.ConfirmSecondFactorView.as_view()),
    path("me/mfa/recovery-codes", second_factor_views.RecoveryCodesView.as_view()),
    path("me/mfa/passkey", passkey_views.ProofChallengeView.as_view()),
    path("me/passkeys", passkey_views.PasskeysView.as_view()),
    path("me/passkeys/begin", passkey_views.BeginPasskeyView.as_view()),
    path("me/passkeys/<uuid:passkey_id>", passkey_views.PasskeyView.as_view()),
    path("me/sessions", views.SessionsView.as_view()),
    path("me/sessions/<uuid:session_id>", views.SessionView.as_view()),
    path("organizations", team_views.OrganizationsView.as_view()),
    path("organizations/<uuid:organization_id>", team_views.OrganizationView.as_view()),
    path("organizations/<uuid:organization_id>/invitations", team_views.InvitationsView.as_view()),
    path("organizations/<uuid:organization_id>/invitations/<uuid:invitation_id>", team_views.InvitationView.as_view()),
    path("invitations", team_views.OwnInvitationsView.as_view()),
    path("invitations/<uuid:invitation_id>", team_views.OwnInvitationView.as_view()),
    path("invitations/accept", team_views.AcceptView.as_view()),
]
